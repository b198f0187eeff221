"""Opening and losing a link to a decode worker: whatever goes wrong, no stream and no channel is left behind."""

import asyncio

import grpc
import pytest

from penstock.core.errors import (
    IncarnationMismatch,
    PenstockError,
    TransportUnavailable,
    WorkerLost,
)
from penstock.transfer.peer_link import REPLY_TIMEOUT_S, PeerLink
from penstock.wire.messages import Hello, LinkWelcome
from tests.unit.prefill.fake_decode import FakeChannel, FakeDecode, cancel, connect, reserve
from tests.unit.virtual_time import in_virtual_time, now_s, settle


@in_virtual_time
async def test_introduces_itself_and_opens_the_channel_it_is_welcomed_to() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    assert decode.heard[0].hello == Hello("prefill-0", 11, 22)
    assert link.channel is decode.channel  # type: ignore[comparison-overlap]
    await link.close()
    assert link.is_over
    assert decode.channel.is_closed
    assert decode.num_open == 0


@in_virtual_time
async def test_a_worker_that_hangs_is_lost_and_leaves_no_stream_behind() -> None:
    decode = FakeDecode()
    decode.is_mute = True
    began_s = now_s()
    with pytest.raises(WorkerLost, match="did not answer"):
        await connect(decode)
    assert now_s() - began_s == pytest.approx(REPLY_TIMEOUT_S)
    await settle()
    assert decode.num_open == 0


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", WorkerLost),
        (grpc.StatusCode.CANCELLED, "", WorkerLost),  # its server stopped: nobody cancelled the request
        (grpc.StatusCode.UNKNOWN, "", WorkerLost),
        (grpc.StatusCode.FAILED_PRECONDITION, "incarnation_mismatch", IncarnationMismatch),
    ],
)
@in_virtual_time
async def test_why_it_cannot_be_opened(status: grpc.StatusCode, code: str, error: type[PenstockError]) -> None:
    decode = FakeDecode()
    decode.is_mute = True
    opening = asyncio.create_task(connect(decode))
    await settle()
    decode.fail(status, code)
    with pytest.raises(error):
        await opening


@in_virtual_time
async def test_without_a_channel_there_is_no_link() -> None:
    decode = FakeDecode()
    decode.channel_error = TransportUnavailable("No transport in common.")
    with pytest.raises(TransportUnavailable):
        await connect(decode)
    await settle()
    assert decode.num_open == 0


@pytest.mark.parametrize("is_welcome", [False, True])
@in_virtual_time
async def test_opening_it_can_be_cancelled(is_welcome: bool) -> None:
    decode = FakeDecode()
    decode.is_mute = not is_welcome

    async def never(_: LinkWelcome) -> None:
        await asyncio.get_running_loop().create_future()

    link = PeerLink(decode.ref, Hello("prefill-0", 11, 22))
    opening: asyncio.Task[object] = asyncio.create_task(link.connect(decode.link, never))  # type: ignore[arg-type]
    await settle()
    await cancel(opening)
    await settle()
    assert decode.num_open == 0


@in_virtual_time
async def test_a_channel_that_opens_after_the_link_broke_is_closed() -> None:
    decode = FakeDecode()
    opened = asyncio.Event()

    async def slow(welcome: LinkWelcome) -> FakeChannel:
        await opened.wait()
        return await decode.open_channel(welcome)

    link = PeerLink(decode.ref, Hello("prefill-0", 11, 22))
    opening = asyncio.create_task(link.connect(decode.link, slow))  # type: ignore[arg-type]
    await settle()
    decode.hang_up()
    await settle()
    opened.set()
    with pytest.raises(WorkerLost, match="broke while"):
        await opening
    assert decode.channel.is_closed


@in_virtual_time
async def test_a_break_fails_whatever_waits() -> None:
    decode = FakeDecode()
    decode.has_starts = False
    link = await connect(decode)
    await link.reserve(reserve(1))
    await link.reserve(reserve(2))  # nobody will await its start: no failure may be left unseen
    decode.has_grants = False
    waiting = [asyncio.create_task(link.started(1)), asyncio.create_task(link.reserve(reserve(3)))]
    await settle()
    decode.fail()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerLost, WorkerLost]
    assert link.is_broken
    assert decode.channel.is_closed
    with pytest.raises(WorkerLost, match="broken"):
        await link.reserve(reserve(4))
    link.release(1)
    link.release(2)
    await link.close()
    assert link.is_over


@in_virtual_time
async def test_a_stream_that_ends_in_peace_is_as_broken() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    decode.hang_up()
    await settle()
    assert link.is_broken
    assert decode.channel.is_closed
    await settle()
    assert link.is_over


@in_virtual_time
async def test_news_of_reservations_long_gone_are_ignored() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    decode.say(started=[7], revoked=[8])
    await settle()
    assert not link.is_broken
    await link.close()


@in_virtual_time
async def test_room_wakes_those_who_wait_for_it_or_the_time_does() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    began_s = now_s()
    await link.wait_for_room(0.25)
    assert now_s() - began_s == pytest.approx(0.25)
    waiting = [asyncio.create_task(link.wait_for_room(5.0)) for _ in range(2)]
    await settle()
    decode.say(has_capacity=True)
    await asyncio.gather(*waiting)
    assert now_s() - began_s < 1.0
    await link.close()


@in_virtual_time
async def test_a_break_ends_the_wait_for_room() -> None:
    decode = FakeDecode()
    link = await connect(decode)
    waiting = asyncio.create_task(link.wait_for_room(1000.0))
    await settle()
    decode.hang_up()
    async with asyncio.timeout(1.0):
        await waiting
    await link.close()
