"""Links to decode workers: one for each life of each, replaced when broken."""

import asyncio
from typing import Any

import pytest

from penstock.core.errors import TransferFailed, WorkerLost
from penstock.core.types import WorkerRef
from penstock.transfer.peer_link import REPLY_TIMEOUT_S
from penstock.transfer.peer_links import PeerLinks
from tests.unit.prefill.fake_decode import REVISION, FakeChannel, FakeDecode, reserve
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle


class FakeSender:
    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []

    async def connect(self, worker_id: str, incarnation: int, layouts: object, endpoints: object) -> FakeChannel:
        assert all(channel.is_closed for channel in self.channels), "two channels to one life of a worker"
        self.channels.append(FakeChannel())
        return self.channels[-1]


def make(decode: FakeDecode, revision: str = REVISION) -> tuple[PeerLinks, FakeSender]:
    sender: Any = FakeSender()
    return PeerLinks(("prefill-0", 11), revision, sender, decode.link), sender


@in_virtual_time
async def test_everyone_shares_one_link() -> None:
    decode = FakeDecode()
    links, _ = make(decode)
    first, second = await asyncio.gather(links.get(decode.ref), links.get(decode.ref))
    assert first is second is await links.get(decode.ref)
    assert decode.num_streams == 1
    assert list(links.transports) == [("decode-0", "fake")]
    await links.close()
    assert decode.num_open == 0
    assert list(links.transports) == []


@in_virtual_time
async def test_a_broken_link_is_replaced_once_its_channel_is_closed() -> None:
    """Otherwise the decode worker never sees us disconnected, and keeps what it promised on the old link."""
    decode = FakeDecode()
    links, sender = make(decode)
    broken = await links.get(decode.ref)
    closing = asyncio.Event()

    async def close_slowly() -> None:
        await closing.wait()
        sender.channels[0].is_closed = True

    sender.channels[0].close = close_slowly  # type: ignore[method-assign]
    decode.fail()
    await settle()
    getting = asyncio.create_task(links.get(decode.ref))
    await settle()
    assert not getting.done()
    assert list(links.transports) == []
    closing.set()
    assert await getting is not broken
    await links.close()


@in_virtual_time
async def test_a_link_that_could_not_be_opened_is_tried_again() -> None:
    decode = FakeDecode()
    links, _ = make(decode)
    decode.is_mute = True
    opening = asyncio.create_task(links.get(decode.ref))
    await settle()
    decode.fail()
    with pytest.raises(WorkerLost):
        await opening
    decode.is_mute = False
    await links.get(decode.ref)
    await links.close()


@pytest.mark.parametrize("was_open", [False, True])
@in_virtual_time
async def test_nobody_waits_a_second_time_for_a_worker_that_was_silent(was_open: bool) -> None:
    decode = FakeDecode()
    decode.has_grants = False
    decode.is_mute = not was_open
    links, _ = make(decode)
    began_s = now_s()
    with pytest.raises(WorkerLost, match="did not answer"):
        await (await links.get(decode.ref)).reserve(reserve())
    decode.is_mute = True
    assert now_s() - began_s == pytest.approx(REPLY_TIMEOUT_S, abs=0.01)
    for _ in range(50):
        with pytest.raises(WorkerLost, match="has not answered lately"):
            await links.get(decode.ref)
        await pass_time(0.1)
    assert now_s() - began_s == pytest.approx(REPLY_TIMEOUT_S + 5.0, abs=0.01)
    assert decode.num_streams == 4  # the first, and one after the other since
    decode.is_mute = False
    await pass_time(REPLY_TIMEOUT_S)
    with pytest.raises(WorkerLost, match="has not answered lately"):
        await links.get(decode.ref)
    await settle()
    assert (await links.get(decode.ref)).ref == decode.ref
    await links.close()


@in_virtual_time
async def test_a_worker_with_other_weights_is_no_partner() -> None:
    decode = FakeDecode()
    links, sender = make(decode, revision="other")
    with pytest.raises(TransferFailed, match="serves revision r1, this worker other"):
        await links.get(decode.ref)
    assert sender.channels == []
    await links.close()


@in_virtual_time
async def test_who_is_cancelled_leaves_the_link_to_the_others() -> None:
    decode = FakeDecode()
    links, _ = make(decode)
    one, other = (asyncio.create_task(links.get(decode.ref)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert (await other).ref == decode.ref
    await links.close()


@in_virtual_time
async def test_nothing_is_left_when_all_is_closed_while_a_link_opens() -> None:
    decode = FakeDecode()
    decode.is_mute = True
    links, _ = make(decode)
    getting = asyncio.create_task(links.get(decode.ref))
    await settle()
    await links.close()
    await asyncio.wait([getting])
    await settle()
    assert decode.num_open == 0


@in_virtual_time
async def test_lives_that_are_over_are_forgotten() -> None:
    decode = FakeDecode()
    links, _ = make(decode)
    for incarnation in range(5):
        decode.ref = WorkerRef("decode-0", incarnation, "decode-0:1")
        await links.get(decode.ref)
        decode.fail()
        await settle()
    assert len(links._openings) == 1
    await links.close()
