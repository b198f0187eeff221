"""What each transport does when something is wrong: refuse, repeat or fail by the deadline; never deliver wrong KV."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import (
    ChecksumMismatch,
    IncarnationMismatch,
    RequestCancelled,
    TransferFailed,
    UnknownReservation,
)
from penstock.transfer import listener, shared_memory, tcp, ucx
from penstock.transfer.copies import Sliced
from penstock.transfer.layout import Rows
from penstock.transfer.memory import Bytes

PEER = ("prefill-0", 22)


def flip_at_destination(pair: Any, monkeypatch: pytest.MonkeyPatch, num_flips: int) -> Iterator[int]:
    """Flip a bit of each of the next `num_flips` segments once it is in place, before it is verified."""
    flips = iter(range(num_flips))

    def flip(pool: Bytes, rows: Rows) -> None:
        for _ in zip(range(1), flips, strict=False):
            pool[int(rows.index[-1]) * rows.row_bytes] ^= 1

    def verifying(verify: Any) -> Any:
        def verify_flipped(pool: Bytes, rows: Rows) -> Sliced[int]:
            if any(np.may_share_memory(pool, memory.view) for memory in pair.destination_memories):
                flip(pool, rows)
            return int((yield from verify(pool, rows)))

        return verify_flipped

    def checking(check: Any) -> Any:
        def check_flipped(payload: Bytes, *rest: Any) -> Sliced[int]:
            for _ in zip(range(1), flips, strict=False):
                payload[-1] ^= 1
            return int((yield from check(payload, *rest)))

        return check_flipped

    for module in (listener, shared_memory):
        monkeypatch.setattr(module, "hash_rows", verifying(vars(module)["hash_rows"]))
    monkeypatch.setattr(ucx, "check_and_scatter", checking(vars(ucx)["check_and_scatter"]))
    return flips


async def test_corrupt_segments_are_sent_again_until_they_are_right(
    make_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await make_pair(is_large=True)
    flips = flip_at_destination(pair, monkeypatch, 3)
    blocks = list(range(64))
    is_complete = pair.expect(blocks, 0, 1024)
    stats = await pair.push(blocks, blocks, range(1024))
    await is_complete.wait()
    assert next(flips, None) is None
    assert stats.num_retries == 3
    assert pair.receiver.counters.of(pair.transport).num_checksum_failures == 3
    assert pair.sender.counters.of(pair.transport).num_resends == 3
    pair.assert_arrived(blocks, blocks, range(1024))


async def test_a_segment_that_is_always_corrupt_fails_its_push_and_is_never_used(
    make_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await make_pair(max_resends=1)
    flip_at_destination(pair, monkeypatch, 1000)
    is_complete = pair.expect([1], 0, 16)
    with pytest.raises(ChecksumMismatch):
        await pair.push([1], [1], range(16))
    assert not is_complete.is_set()
    assert pair.receiver.num_open_reservations == 1


async def test_an_unknown_reservation_is_refused_and_nothing_is_written(make_pair: Any) -> None:
    pair = await make_pair()
    with pytest.raises(UnknownReservation):
        await pair.push([1, 2], [4, 5], range(32))
    pair.assert_untouched()
    is_complete = pair.expect([4, 5], 0, 32)
    await pair.push([1, 2], [4, 5], range(32))
    await is_complete.wait()


async def test_another_life_of_the_receiver_is_refused_at_connect(make_pair: Any) -> None:
    pair = await make_pair()
    with pytest.raises(IncarnationMismatch):
        await pair.connect(incarnation=12)


async def test_a_reservation_made_for_another_life_of_the_sender_is_unknown(make_pair: Any) -> None:
    pair = await make_pair()
    pair.receiver.expect((PEER[0], PEER[1] + 1), 1, [4, 5], 0, 32, lambda: None)
    with pytest.raises(UnknownReservation):
        await pair.push([1, 2], [4, 5], range(32))
    pair.assert_untouched()


async def test_tokens_outside_of_the_reservation_are_refused(make_pair: Any) -> None:
    pair = await make_pair()
    pair.expect([4, 5], 0, 20)
    with pytest.raises(TransferFailed, match="refused"):
        await pair.push([1, 2], [4, 5], range(32))
    is_complete = pair.expect([6], 0, 16, reservation_id=2)
    await pair.push([1], [6], range(16), reservation_id=2)
    await is_complete.wait()


async def test_cancelling_at_the_receiver_refuses_the_rest(make_pair: Any) -> None:
    pair = await make_pair(is_large=True, num_credits=2)
    blocks = list(range(128))
    is_complete = pair.expect(blocks, 0, 2048)
    push = asyncio.create_task(pair.push(blocks, blocks, range(2048)))
    counters = pair.receiver.counters.of(pair.transport)
    await pair.until(lambda: counters.num_segments > 0)
    pair.receiver.cancel(PEER, 1)
    with pytest.raises(UnknownReservation):
        await push
    assert not is_complete.is_set()
    assert pair.receiver.num_open_reservations == 0
    assert pair.channel.is_open


@pytest.mark.parametrize("transport", ["tcp", "ucx"], indirect=True)  # shared memory is written by the sender
async def test_two_sided_transports_write_nothing_after_a_cancel(make_pair: Any, transport: str) -> None:
    pair = await make_pair(is_large=True, num_credits=4)
    blocks = list(range(128))
    pair.expect(blocks, 0, 2048)
    push = asyncio.create_task(pair.push(blocks, blocks, range(2048)))
    counters = pair.receiver.counters.of(transport)
    await pair.until(lambda: counters.num_segments > 1)
    pair.receiver.cancel(PEER, 1)
    pool = pair.destination_memories[0].pool
    before = pool.copy()
    with pytest.raises(UnknownReservation):
        await push
    assert (pool == before).all()


async def test_stopping_at_the_sender_ends_the_push_and_every_write(make_pair: Any) -> None:
    pair = await make_pair(is_large=True, num_credits=2)
    blocks = list(range(128))
    is_complete = pair.expect(blocks, 0, 2048)
    push = asyncio.create_task(pair.push(blocks, blocks, range(2048)))
    counters = pair.sender.counters.of(pair.transport)
    await pair.until(lambda: counters.num_segments > 0)
    await pair.channel.stop(1)
    before = pair.destination_memories[0].pool.copy()
    with pytest.raises(RequestCancelled):
        await push
    assert not is_complete.is_set()
    assert (pair.destination_memories[0].pool == before).all()
    done = pair.expect([200], 0, 16, reservation_id=2)
    await pair.push([200], [200], range(16), reservation_id=2)
    await done.wait()


async def test_a_cancelled_push_leaves_the_channel_usable(make_pair: Any) -> None:
    pair = await make_pair(is_large=True, num_credits=2)
    blocks = list(range(128))
    pair.expect(blocks, 0, 2048)
    push = asyncio.create_task(pair.push(blocks, blocks, range(2048)))
    counters = pair.sender.counters.of(pair.transport)
    await pair.until(lambda: counters.num_segments > 0)
    push.cancel()
    with pytest.raises(asyncio.CancelledError):
        await push
    is_complete = pair.expect([200, 201], 0, 32, reservation_id=2)
    await pair.push([200, 201], [200, 201], range(32), reservation_id=2)
    await is_complete.wait()


async def test_both_ends_notice_when_the_other_goes(make_pair: Any) -> None:
    pair = await make_pair()
    await pair.until(lambda: pair.receiver.is_peer_connected(PEER))
    await pair.channel.close()
    await pair.until(lambda: not pair.receiver.is_peer_connected(PEER))
    assert pair.gone == [PEER]
    with pytest.raises(TransferFailed):
        await pair.push([1], [1], range(16))

    pair.channel = await pair.connect()
    await pair.receiver.close()
    await pair.until(lambda: not pair.channel.is_open)
    with pytest.raises(TransferFailed):
        await pair.push([1], [1], range(16))
    with pytest.raises(TransferFailed, match="does not answer"):
        await pair.connect()


async def test_a_sender_that_dies_mid_segment_leaves_the_reservation_incomplete(make_pair: Any) -> None:
    pair = await make_pair(is_large=True)
    blocks = list(range(128))
    is_complete = pair.expect(blocks, 0, 2048)
    push = asyncio.create_task(pair.push(blocks, blocks, range(2048)))
    counters = pair.receiver.counters.of(pair.transport)
    await pair.until(lambda: counters.num_segments > 0)
    pair.channel._carrier.link.socket.close()
    with pytest.raises(TransferFailed):
        await push
    await pair.until(lambda: not pair.receiver.is_peer_connected(PEER))
    assert not is_complete.is_set()
    assert pair.receiver.num_open_reservations == 1

    pair.channel = await pair.connect()
    pair.receiver.cancel(PEER, 1)
    is_complete = pair.expect(blocks, 0, 2048)
    await pair.push(blocks, blocks, range(2048))
    await is_complete.wait()
    pair.assert_arrived(blocks, blocks, range(2048))


async def test_strangers_on_the_socket_do_not_disturb_the_workers(make_pair: Any) -> None:
    pair = await make_pair()
    endpoint = pair.receiver.endpoints[0]
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x01\x03\x00abc", b"\x03\x01\x00\x00"):
        is_unix = pair.transport == "shared_memory"
        dial = shared_memory.dial if is_unix else tcp.dial
        stranger = await dial(ucx.control_address(endpoint.address))
        stranger.send(words)
        stranger.close()
    is_complete = pair.expect([4], 0, 16)
    await pair.push([1], [4], range(16))
    await is_complete.wait()
