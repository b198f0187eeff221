"""Reservations on a link: every promise is either used or given back, whenever what goes wrong."""

import asyncio

import pytest

from penstock.core.errors import (
    BlocksExhausted,
    UnknownReservation,
    WorkerLost,
)
from penstock.core.types import Request, SamplingParams
from penstock.transfer.peer_link import REPLY_TIMEOUT_S
from penstock.wire.messages import Commit, Reserved
from tests.unit.prefill.fake_decode import LEASE_S, FakeDecode, cancel, connect, reserve
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

REQUEST = Request("r0", 0, "gateway", 0, (1, 2), SamplingParams(), (3,))


@in_virtual_time
async def test_a_reservation_from_grant_to_start() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    reserved = await link.reserve(reserve(1, 40))
    assert reserved == Reserved(1, [50, 51, 52], 0, LEASE_S)
    link.commit(Commit(1, REQUEST))
    await link.started(1)
    link.release(1)  # it is the decode worker's now: nothing to give back
    await settle()
    assert decode.said("commits") == [Commit(1, REQUEST)]
    assert decode.said("released") == []
    await link.close()


@in_virtual_time
async def test_the_start_may_be_heard_before_it_is_awaited() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    await link.reserve(reserve())
    decode.say(started=[1])
    await settle()
    await link.started(1)
    await link.close()


@in_virtual_time
async def test_grant_and_withdrawal_in_one_message() -> None:
    decode = FakeDecode()
    decode.has_grants = False
    link = await connect(decode)
    reserving = asyncio.create_task(link.reserve(reserve()))
    await settle()
    decode.say(reserved=[Reserved(1, [5], 0, LEASE_S)], revoked=[1])
    await reserving
    with pytest.raises(UnknownReservation):
        await link.started(1)
    link.release(1)
    await settle()
    assert decode.said("released") == [1]
    await link.close()


@in_virtual_time
async def test_a_refusal_is_raised_and_nothing_is_released() -> None:
    decode = FakeDecode()
    decode.refusals = [BlocksExhausted("Full.")]
    link = await connect(decode)
    with pytest.raises(BlocksExhausted, match="Full"):
        await link.reserve(reserve())
    await settle()
    assert decode.said("released") == []
    await link.close()


@in_virtual_time
async def test_no_answer_in_time_breaks_the_link_for_all_who_wait_on_it() -> None:
    """The decode worker hangs. When it wakes it finds the stream gone, and takes back whatever it grants then."""
    decode = FakeDecode()
    link = await connect(decode)
    await link.reserve(reserve(1))
    decode.has_starts = decode.has_grants = False
    link.commit(Commit(1, REQUEST))
    starting = asyncio.create_task(link.started(1))
    began_s = now_s()
    with pytest.raises(WorkerLost, match="did not answer"):
        await link.reserve(reserve(2))
    assert now_s() - began_s == pytest.approx(REPLY_TIMEOUT_S)
    with pytest.raises(WorkerLost, match="did not answer"):
        await starting
    with pytest.raises(WorkerLost, match="broken"):
        await link.reserve(reserve(3))
    assert link.is_silent
    await settle()
    assert decode.num_open == 0
    assert decode.channel.is_closed
    link.release(1)
    await link.close()


@in_virtual_time
async def test_a_grant_in_the_moment_the_link_breaks_is_not_lost() -> None:
    decode = FakeDecode()
    decode.has_grants = False
    link = await connect(decode)
    asyncio.get_running_loop().call_at(
        now_s() + REPLY_TIMEOUT_S, lambda: link._on_reserved(Reserved(1, [5], 0, LEASE_S))
    )
    with pytest.raises(WorkerLost, match="did not answer"):
        await link.reserve(reserve())
    assert link._starts == {}
    await link.close()


@in_virtual_time
async def test_a_cancelled_wait_for_a_grant_gives_it_back() -> None:
    decode = FakeDecode()
    decode.has_grants = False
    link = await connect(decode)
    reserving: asyncio.Task[object] = asyncio.create_task(link.reserve(reserve()))
    await settle()
    await cancel(reserving)
    await settle()
    assert decode.said("released") == [1]
    await link.close()


@pytest.mark.parametrize("is_granted", [True, False])
@in_virtual_time
async def test_an_answer_in_the_moment_of_the_cancellation_is_not_lost(is_granted: bool) -> None:
    """The grant is set, the task that waits for it is cancelled before it runs: the blocks would be held for ever."""
    decode = FakeDecode()
    decode.has_grants = False
    link = await connect(decode)
    reserving: asyncio.Task[object] = asyncio.create_task(link.reserve(reserve()))
    await settle()
    if is_granted:
        link._on_reserved(Reserved(1, [5], 0, LEASE_S))
    else:
        link._fail(1, BlocksExhausted("Full."))
    await cancel(reserving)
    await pass_time(LEASE_S)
    assert decode.said("released") == [1]
    assert decode.said("renewed") == []
    await link.close()


@in_virtual_time
async def test_a_cancelled_wait_for_the_start_gives_the_reservation_back() -> None:
    decode = FakeDecode()
    decode.has_starts = False
    link = await connect(decode)
    await link.reserve(reserve())
    starting: asyncio.Task[object] = asyncio.create_task(link.started(1))
    await settle()
    await cancel(starting)
    link.release(1)
    await settle()
    assert decode.said("released") == [1]
    await link.close()


@in_virtual_time
async def test_a_release_is_said_only_after_the_channel_stopped() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    await link.reserve(reserve())
    decode.channel.stop_gate = asyncio.Event()
    link.release(1)
    link.release(1)
    await settle()
    assert decode.said("released") == []
    decode.channel.stop_gate.set()
    await settle()
    assert decode.channel.stopped == decode.said("released") == [1]
    await link.close()


@in_virtual_time
async def test_what_is_held_is_renewed_three_times_in_a_lease() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    await link.reserve(reserve(1))
    await link.reserve(reserve(2))
    await pass_time(LEASE_S + 0.1)
    assert decode.said("renewed") == [1, 2] * 3
    link.release(1)
    await pass_time(LEASE_S / 3)
    assert decode.said("renewed") == [1, 2] * 3 + [2]
    link.release(2)
    await pass_time(LEASE_S)
    assert len(decode.said("renewed")) == 7
    await link.close()


@pytest.mark.parametrize("what", ["refused", "revoked"])
@in_virtual_time
async def test_a_failed_commit_is_raised_where_the_start_is_awaited(what: str) -> None:
    decode = FakeDecode()
    decode.has_starts = False
    link = await connect(decode)
    await link.reserve(reserve())
    link.commit(Commit(1, REQUEST))
    if what == "revoked":
        decode.say(revoked=[1])
    else:
        link._fail(1, UnknownReservation("Never granted."))
    with pytest.raises(UnknownReservation):
        await link.started(1)
    link.release(1)
    await settle()
    assert decode.said("released") == [1]
    await link.close()
