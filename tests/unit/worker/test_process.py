"""One worker process without its sockets: how it describes itself, drains, and goes."""

import asyncio

import pytest

from penstock import __version__
from penstock.core.errors import Draining, WorkerLost
from penstock.core.types import Role
from penstock.runtime.settings import WorkerSettings
from tests.unit.decode.decode_worker import take
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import now_s, pass_time, settle
from tests.unit.worker.worker_process import Process, in_process


@in_process(WorkerSettings(worker_id="prefill-7", role="prefill", group="g", max_num_sequences=9))
async def test_describes_what_it_is(one: Process) -> None:
    state = one.worker.state()
    assert (state.ref.worker_id, state.role, state.group, state.version) == (
        "prefill-7",
        Role.PREFILL,
        "g",
        __version__,
    )
    assert state.ref.incarnation == one.worker._receiver.me[1] != 0
    assert (state.model, state.revision) == ("mock", "1")
    assert (state.block_size, state.num_blocks, state.max_num_sequences) == (16, 64, 9)
    assert (state.is_draining, state.transports) == (False, ())
    await one.worker.close()


@in_process()
async def test_describes_what_it_holds(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=20)
    one.start(1, max_tokens=20)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (2, 0, 80)
    assert state.num_free_blocks == 64 - 6
    await pass_time(4.5 * STEP_S)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (0, 2, 0)
    assert state.num_context_tokens > 80
    assert state.num_decoding == 2
    assert state.token_interval_s == pytest.approx(STEP_S)
    costs = one.worker._engine.costs
    assert (state.prefill_base_s, state.prefill_s_per_token) == (costs.prefill_base_s, costs.prefill_s_per_token)
    assert state.prefill_base_s + state.prefill_s_per_token > 0
    one.stop.set()
    await running
    await one.worker.close()


@in_process()
async def test_metrics_show_what_it_last_said_and_do_not_look_at_its_books(one: Process) -> None:
    parts = one.worker._parts()
    one.start(0)
    assert parts.describe().num_prefill_tokens == 0
    state = one.worker.state()
    assert parts.describe() is state
    assert state.num_prefill_tokens == 40
    await one.worker.close()


@in_process()
async def test_a_drain_takes_nothing_new_and_finishes_what_is_held(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    assert [state.is_draining for state in one.states] == [False]
    one.stop.set()
    await settle()
    assert [state.is_draining for state in one.states] == [False, True]
    assert one.server.said == [False]
    take(one.news)
    one.start(1)
    assert [type(end.error) for end in one.failures()] == [Draining]
    assert await running == 0
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    await one.worker.close()
    assert one.ends() == []
    assert one.server.said == [False, "stopped"]


@in_process(WorkerSettings(worker_id="mixed-0", drain_timeout_s=3.0))
async def test_what_a_drain_cannot_finish_in_time_is_handed_back(one: Process) -> None:
    began_s = now_s()
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    link = one.reserve(1)
    assert take(link)[0].reserved
    one.stop.set()
    assert await running == 0
    assert now_s() - began_s == pytest.approx(3.0, abs=0.1)
    take(one.steps), take(link)
    await one.worker.close()
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, Draining)]
    assert [list(events.revoked) for events in take(link)] == [[1]]
    assert len(one.worker._intake.reservations) == 0
    assert one.book.owners == {}


@in_process()
async def test_a_device_that_fails_ends_the_worker_and_everyone_is_told(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(4.5 * STEP_S)
    link = one.reserve(1)
    one.start(2)

    async def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    one.runner.execute = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert [str(error) for error in caught.value.exceptions] == ["device lost"]
    one.start(3)  # its streams are open still
    one.ends(), one.failures(), take(link)
    await one.worker.close()
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, WorkerLost)]
    assert {(end.handle, type(end.error)) for end in one.failures()} == {(2, WorkerLost), (3, WorkerLost)}
    assert [list(events.revoked) for events in take(link)] == [[1]]
    assert len(one.worker._intake.reservations) == 0
    one.start(4)
    assert [type(end.error) for end in one.failures()] == [Draining]
    assert one.server.said == ["stopped"]
