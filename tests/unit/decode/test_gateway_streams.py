"""The streams to gateways: opened late, replaced, gone, not read."""

from penstock.decode.gateway_streams import PATIENCE_S, GatewayStreams
from penstock.runtime.outbox import Outbox
from penstock.wire.messages import StepOutputs
from tests.unit.decode.decode_worker import take
from tests.unit.virtual_time import in_virtual_time, pass_time


def make() -> tuple[GatewayStreams, list[str]]:
    gone: list[str] = []
    return GatewayStreams(gone.append), gone


@in_virtual_time
async def test_steps_go_to_the_gateway_they_are_for() -> None:
    streams, gone = make()
    one, two = streams.open("one"), streams.open("two")
    streams.send("one", StepOutputs(1))
    streams.send("two", StepOutputs(2))
    assert (take(one), take(two)) == ([StepOutputs(1)], [StepOutputs(2)])
    assert gone == []


@in_virtual_time
async def test_tokens_wait_a_moment_for_a_stream_that_is_still_being_opened() -> None:
    streams, gone = make()
    streams.send("late", StepOutputs(1))
    await pass_time(PATIENCE_S - 0.1)
    streams.send("late", StepOutputs(2))
    assert take(streams.open("late")) == [StepOutputs(1), StepOutputs(2)]
    await pass_time(2 * PATIENCE_S)
    assert gone == []


@in_virtual_time
async def test_a_gateway_that_never_comes_is_gone() -> None:
    streams, gone = make()
    streams.send("never", StepOutputs(1))
    await pass_time(PATIENCE_S + 0.1)
    assert gone == ["never"]
    assert take(streams.open("never")) == []


@in_virtual_time
async def test_a_newer_stream_ends_the_older_and_the_gateway_is_not_gone() -> None:
    streams, gone = make()
    older = streams.open("gateway")
    newer = streams.open("gateway")
    assert not older.put(StepOutputs(1))
    streams.close("gateway", older)
    streams.send("gateway", StepOutputs(2))
    assert take(newer) == [StepOutputs(2)]
    assert gone == []
    streams.close("gateway", newer)
    assert gone == ["gateway"]


@in_virtual_time
async def test_a_gateway_that_stopped_reading_is_gone() -> None:
    """Its requests must be cancelled: tokens that are dropped in silence would leave them waiting for ever."""
    streams, gone = make()
    outbox: Outbox[StepOutputs] = streams.open("slow")
    outbox._max_items = 3
    for step in range(4):
        streams.send("slow", StepOutputs(step))
    assert gone == ["slow"]
    streams.close("slow", outbox)
    assert gone == ["slow"]


@in_virtual_time
async def test_a_gateway_that_is_awaited_and_overrun_is_given_up_once() -> None:
    streams, gone = make()
    streams.send("never", StepOutputs(0))
    streams._outboxes["never"]._max_items = 1
    streams.send("never", StepOutputs(1))
    assert gone == ["never"]
    await pass_time(2 * PATIENCE_S)
    assert gone == ["never"]
