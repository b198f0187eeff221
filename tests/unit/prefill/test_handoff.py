"""One request on its way out: to the first decode worker that takes it, whatever the others do."""

import asyncio

import pytest

from penstock.core.errors import (
    BlocksExhausted,
    IncarnationMismatch,
    InternalError,
    PenstockError,
    TransferFailed,
    UnknownReservation,
    WorkerLost,
)
from tests.unit.prefill.fake_decode import FakeDecode
from tests.unit.prefill.handoff_stage import EVERYTHING, FIRST, LIMITS, Stage, moved, staged
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle


@staged()
async def test_pushes_while_the_prompt_is_computed_and_commits_after_the_first_token(stage: Stage) -> None:
    [decode] = stage.decodes
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    stage.compute(0)
    await settle()
    assert [(push.layers, push.tokens) for push in decode.channel.done] == [(range(2), range(16))]
    stage.compute(1)
    await settle()
    assert moved(decode) == EVERYTHING
    assert decode.said("commits") == []
    stage.handoff.add_first_token(FIRST)
    ref, spans = await running
    [commit] = decode.said("commits")
    assert (commit.reservation_id, commit.request.output_token_ids) == (1, [FIRST])
    assert ref == decode.ref
    assert [span.stage for span in spans] == ["reserve", "transfer"]
    assert decode.said("released") == []


@staged()
async def test_asks_for_blocks_for_all_known_tokens_and_names_the_request(stage: Stage) -> None:
    stage.finish()
    await stage.handoff.run()
    [reserve] = stage.decodes[0].said("reserves")
    request = stage.sequence.request
    assert (reserve.num_tokens, reserve.max_new_tokens, reserve.handle) == (40, 10, request.handle)
    assert reserve.block_hashes == request.block_hashes
    assert stage.decodes[0].channel.pushes[0].source_blocks == [7, 8, 9]
    assert stage.decodes[0].channel.pushes[0].destination_blocks == [50, 51, 52]


@staged()
async def test_what_the_decode_worker_has_is_not_pushed(stage: Stage) -> None:
    [decode] = stage.decodes
    decode.num_cached_tokens = 32
    stage.finish()
    await stage.handoff.run()
    assert moved(decode) == {(layer, token) for layer in range(2) for token in range(32, 40)}
    assert {push.first_destination_token for push in decode.channel.done} == {32}


@staged(2)
async def test_the_first_that_accepts_takes_it(stage: Stage) -> None:
    first, second = stage.decodes
    first.refusals = [BlocksExhausted("Full.")]
    stage.finish()
    ref, _ = await stage.handoff.run()
    assert ref == second.ref
    assert moved(second) == EVERYTHING
    assert first.channel.pushes == []


@pytest.mark.parametrize(
    "error",
    [
        WorkerLost("Gone."),
        IncarnationMismatch("Restarted."),  # the first thing said on a stream to a restarted worker
        TransferFailed("Other layout."),
        InternalError("Bad."),
    ],
)
@in_virtual_time
async def test_a_worker_that_cannot_be_reached_is_passed_over(error: PenstockError) -> None:
    stage = Stage([FakeDecode("decode-0"), FakeDecode("decode-1")])
    stage.errors["decode-0"] = error
    stage.finish()
    ref, _ = await stage.handoff.run()
    assert ref == stage.decodes[1].ref
    await stage.close()


@staged(2)
async def test_when_one_dies_in_a_push_the_next_gets_everything(stage: Stage) -> None:
    first, second = stage.decodes
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    stage.compute(0)
    await settle()
    assert len(first.channel.done) == 1
    first.channel.failure = TransferFailed("Connection lost.")
    stage.compute(1)
    await settle()
    stage.handoff.add_first_token(FIRST)
    assert (await running)[0] == second.ref
    assert moved(second) == EVERYTHING
    assert first.said("commits") == []
    assert first.said("released") == [1]


@staged(2)
async def test_a_push_that_fails_after_the_commit_is_tried_elsewhere(stage: Stage) -> None:
    first, second = stage.decodes
    first.has_starts = False
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    first.channel.gate = asyncio.Event()
    stage.finish()
    await settle()
    assert len(first.said("commits")) == 1
    first.channel.failure = TransferFailed("Late.")
    first.channel.gate.set()
    assert (await running)[0] == second.ref
    assert first.said("released") == [1]


@staged(2)
async def test_a_broken_link_is_noticed_while_the_start_is_awaited(stage: Stage) -> None:
    first, second = stage.decodes
    first.has_starts = False
    stage.finish()
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    first.fail()
    assert (await running)[0] == second.ref


@staged(2)
async def test_a_withdrawn_reservation_is_given_back_and_the_next_one_asked(stage: Stage) -> None:
    first, second = stage.decodes
    first.has_starts = False
    stage.finish()
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    first.say(revoked=[1])
    assert (await running)[0] == second.ref
    await settle()
    assert first.said("released") == [1]


@staged(2)
async def test_one_that_never_starts_it_has_a_deadline(stage: Stage) -> None:
    first, second = stage.decodes
    first.has_starts = False
    stage.finish()
    began_s = now_s()
    ref, _ = await stage.handoff.run()
    assert ref == second.ref
    assert now_s() - began_s == pytest.approx(LIMITS.transfer_timeout_s, abs=0.1)
    assert first.said("released") == [1]


@staged()
async def test_a_long_prompt_is_no_late_start(stage: Stage) -> None:
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    stage.compute(0)
    await pass_time(100.0)
    stage.compute(1)
    stage.handoff.add_first_token(FIRST)
    await running


@staged()
async def test_goes_round_until_there_is_room(stage: Stage) -> None:
    [decode] = stage.decodes
    decode.refusals = [BlocksExhausted("Full.")] * 3
    stage.finish()
    began_s = now_s()
    await stage.handoff.run()
    assert now_s() - began_s == pytest.approx(3 * LIMITS.retry_interval_s, abs=0.01)


@staged()
async def test_asks_again_as_soon_as_room_is_announced(stage: Stage) -> None:
    [decode] = stage.decodes
    decode.refusals = [BlocksExhausted("Full.")]
    stage.finish()
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    decode.say(has_capacity=True)
    await settle()
    assert running.done()
    await running


@staged()
async def test_out_of_patience_it_raises_the_last_reason(stage: Stage) -> None:
    stage.decodes[0].refusals = [BlocksExhausted(f"Full {at}.") for at in range(100)]
    stage.finish()
    began_s = now_s()
    with pytest.raises(BlocksExhausted, match="Full"):
        await stage.handoff.run()
    assert now_s() - began_s == pytest.approx(LIMITS.patience_s, abs=0.5)


@staged()
async def test_patience_counts_from_the_first_token(stage: Stage) -> None:
    stage.decodes[0].refusals = [BlocksExhausted("Full.")] * 100
    running = asyncio.create_task(stage.handoff.run())
    await pass_time(20.0)
    assert not running.done()
    stage.finish()
    await pass_time(1.0)
    stage.decodes[0].refusals.clear()
    await running


@in_virtual_time
async def test_without_a_candidate_it_fails() -> None:
    stage = Stage([])
    stage.finish()
    with pytest.raises(WorkerLost, match="No decode worker"):
        await stage.handoff.run()


@staged(2)
async def test_once_started_a_lost_ack_sends_it_nowhere_else(stage: Stage) -> None:
    first, second = stage.decodes
    await stage.get_link(first.ref)
    first.channel.gate = asyncio.Event()
    stage.finish()
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    first.channel.failure = TransferFailed("The ack was lost.")
    first.channel.gate.set()
    assert (await running)[0] == first.ref
    assert second.num_streams == 0
    assert first.said("released") == []


@staged()
async def test_a_refused_commit_is_an_unknown_reservation(stage: Stage) -> None:
    [decode] = stage.decodes
    decode.has_starts = False
    stage.finish()
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    stage.links["decode-0"]._fail(1, UnknownReservation("Withdrawn."))
    decode.has_starts = True  # the second time it goes well
    await running
    assert [commit.reservation_id for commit in decode.said("commits")] == [1, 2]
    assert decode.said("released") == [1]
