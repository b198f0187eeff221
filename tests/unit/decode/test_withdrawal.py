"""Promises that end before they are kept: cancelled, released, out of lease. No path may keep a block."""

import pytest

from penstock.core.errors import StaleAttempt, UnknownReservation
from penstock.decode.intake import LEASE_S
from penstock.wire.messages import LinkEvents
from tests.unit.decode.decode_worker import KEY, PEER, decode_worker, refusals, request
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

# --- cancellation ---


@in_virtual_time
async def test_a_cancellation_may_overtake_the_reservation() -> None:
    async with decode_worker() as worker:
        worker.intake.cancel(KEY)
        worker.reserve(request())
        assert refusals(worker.heard()) == [StaleAttempt]
        worker.reserve(request(handle=1), 2)
        assert worker.heard()[-1].reserved
        worker.call(released=[2])


@pytest.mark.parametrize("is_committed", [False, True])
@in_virtual_time
async def test_a_cancelled_reservation_keeps_its_blocks_until_nobody_writes_them(is_committed: bool) -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        if is_committed:
            worker.commit(request())
        worker.heard()
        worker.intake.cancel(KEY)
        worker.intake.cancel(KEY)
        assert worker.heard() == [LinkEvents(revoked=[1])]
        assert worker.receiver.expected == {}
        assert worker.intake.reservations.num_quarantined_blocks == worker.num_referenced == 3
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        worker.call(released=[1])
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_decoding_request_is_cancelled_by_the_decoder() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(max_tokens=1000))
        await pass_time(3 * STEP_S)
        assert worker.decoder.cancel(KEY)
        assert not worker.decoder.cancel(KEY)
        await pass_time(2 * STEP_S)
        assert worker.num_referenced == 0
        await pass_time(10.0)  # the gateway never came for its tokens


@in_virtual_time
async def test_kv_that_is_complete_in_the_moment_of_the_release_starts_nothing() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.commit(request())
        worker.deliver(request())  # the news of it is on its way
        worker.call(released=[1])
        await settle()
        assert worker.decoder.num_sequences == 0
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_vanished_gateway_takes_its_reservations_with_it() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        await worker.hand_over(request(max_tokens=1000), 1)
        worker.reserve(request(handle=1), 2)
        await pass_time(2 * STEP_S)
        worker.decoder.streams.close("gateway", outbox)
        assert worker.heard()[-1] == LinkEvents(revoked=[2])
        worker.call(released=[2])
        await pass_time(2 * STEP_S)
        assert worker.num_referenced == 0


# --- leases ---


@in_virtual_time
async def test_a_lease_that_nobody_renews_ends() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.heard()
        await pass_time(LEASE_S - 0.1)
        assert worker.heard() == []
        await pass_time(0.2)
        assert worker.heard() == [LinkEvents(revoked=[1])]
        assert worker.num_referenced == 3
        worker.call(released=[1])


@in_virtual_time
async def test_renewals_and_commits_keep_a_promise() -> None:
    async with decode_worker() as worker:
        worker.reserve(request(), 1)
        worker.reserve(request(handle=1), 2)
        worker.heard()
        for _ in range(5):
            await pass_time(LEASE_S / 2)
            worker.call(renewed=[1, 99])
        assert worker.heard() == [LinkEvents(revoked=[2])]
        worker.commit(request())
        await pass_time(LEASE_S - 0.1)
        assert worker.heard() == []
        worker.call(released=[1, 2])


@in_virtual_time
async def test_after_its_lease_kv_and_commit_come_too_late() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        on_complete = worker.receiver.expected[PEER, 1].on_complete
        await pass_time(LEASE_S + 1)
        on_complete()
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        assert worker.decoder.num_sequences == 0
        worker.call(released=[1])


@in_virtual_time
async def test_revoked_blocks_are_free_when_the_peer_is_gone() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        await pass_time(LEASE_S + 1)
        assert worker.num_referenced == 3
        worker.receiver.lose(PEER)
        assert worker.num_referenced == 0
