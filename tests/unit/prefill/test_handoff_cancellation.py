"""Hand-overs that are cancelled: at any moment, everything is given back and nobody else gets the request."""

import asyncio
from collections.abc import Callable

import pytest

from penstock.core.errors import (
    RequestCancelled,
    TransferFailed,
)
from tests.unit.prefill.fake_decode import FakeDecode
from tests.unit.prefill.handoff_stage import Stage
from tests.unit.virtual_time import in_virtual_time, settle


def before_the_grant(decode: FakeDecode) -> None:
    decode.has_grants = False


def before_the_first_piece(decode: FakeDecode) -> None: ...


def in_a_push(decode: FakeDecode) -> None:
    decode.has_starts = False


def before_the_start(decode: FakeDecode) -> None:
    decode.has_starts = False


@pytest.mark.parametrize("moment", [before_the_grant, before_the_first_piece, in_a_push, before_the_start])
@in_virtual_time
async def test_cancelled_at_any_moment_it_gives_the_reservation_back(moment: Callable[[FakeDecode], None]) -> None:
    stage = Stage([FakeDecode()])
    [decode] = stage.decodes
    link = await stage.get_link(decode.ref)
    moment(decode)
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    if moment in (in_a_push, before_the_start):
        decode.channel.gate = asyncio.Event() if moment is in_a_push else None
        stage.finish()
        await settle()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await settle()
    assert decode.said("released") == [1]
    assert decode.channel.stopped == ([] if moment is before_the_grant else [1])
    assert link._starts == {}
    await stage.close()


@in_virtual_time
async def test_cancelled_while_a_link_is_opened() -> None:
    stage = Stage([FakeDecode()])
    stage.decodes[0].is_mute = True
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await settle()
    assert stage.decodes[0].num_open == 0


@in_virtual_time
async def test_a_push_that_fails_as_it_is_cancelled_does_not_revive_the_request() -> None:
    """A TaskGroup prefers the failure to the cancellation; the next candidate must not get a cancelled request."""
    stage = Stage([FakeDecode("decode-0"), FakeDecode("decode-1")])
    first, second = stage.decodes
    first.has_starts = False
    await stage.get_link(first.ref)

    async def fail_when_cancelled(*_: object) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise TransferFailed("Torn down.") from None

    first.channel.push = fail_when_cancelled  # type: ignore[assignment, method-assign]
    running = asyncio.create_task(stage.handoff.run())
    await settle()
    stage.finish()
    await settle()
    running.cancel()
    stage.sequence.is_cancelled = True
    await asyncio.wait([running])
    assert running.cancelled() or isinstance(running.exception(), RequestCancelled)
    await settle()
    assert second.num_streams == 0
    assert first.said("released") == [1]
    await stage.close()
