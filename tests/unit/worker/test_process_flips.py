"""One worker process without its sockets: how it changes its role and its group."""

import asyncio
from dataclasses import replace

import pytest

from penstock.core.errors import ChangeRefused, Draining, IncarnationMismatch, PenstockError
from penstock.core.types import Role
from penstock.runtime.settings import WorkerSettings
from penstock.wire.control_messages import FlipRequest
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import pass_time, settle
from tests.unit.worker.worker_process import Process, in_process


@in_process(WorkerSettings(worker_id="decode-0", role="decode"))
async def test_a_flip_changes_the_role_at_once_and_finishes_what_is_held(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    answer = one.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation))
    assert (answer.previous_role, answer.num_sequences) == (Role.DECODE, 1)
    await settle()
    assert [state.role for state in one.states] == [Role.DECODE, Role.PREFILL]  # the router hears of it at once
    await pass_time(20 * STEP_S)
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    one.start(1)
    assert one.failures() == []
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=3.0))
async def test_a_move_to_another_group_waits_until_it_is_idle(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    one.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation, "long"))
    await settle()
    state = one.worker.state()
    assert (state.group, state.role, state.is_draining) == ("default", Role.PREFILL, True)
    await pass_time(20 * STEP_S)
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    state = one.worker.state()
    assert (state.group, state.is_draining) == ("long", False)
    assert one.states[-1].group == "long"  # the old router hears it, and lets it go
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=3.0))
async def test_a_move_hands_back_what_does_not_end_in_time(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(2.5 * STEP_S)
    one.flip(FlipRequest(Role.DECODE, one.worker.state().ref.incarnation, "long"))
    await pass_time(3.5)
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, Draining)]
    assert one.worker.state().group == "long"
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=1.0))
async def test_while_it_moves_the_same_order_has_the_same_answer_and_another_is_refused(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(2.5 * STEP_S)
    order = FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation, "long")
    answer = one.flip(order)
    await pass_time(2 * STEP_S)
    assert one.flip(order) == answer
    with pytest.raises(ChangeRefused, match="moving to another group"):
        one.flip(replace(order, group="short"))
    one.stop.set()
    await settle()
    with pytest.raises(Draining, match="going away"):
        one.flip(order)
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=1.0))
async def test_a_device_that_fails_ends_a_move(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(2.5 * STEP_S)
    one.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation, "long"))
    await settle()

    async def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    one.runner.execute = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(ExceptionGroup):
        await running
    await one.worker.close()
    await settle()
    state = one.worker.state()
    assert (state.group, state.is_draining) == ("default", True)


@in_process(WorkerSettings(worker_id="decode-0", role="decode"))
async def test_a_move_that_fails_ends_the_worker(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    await settle()

    def fail(error: PenstockError) -> None:
        raise RuntimeError("not moved")

    one.worker._prefiller.fail_all, fail_all = fail, one.worker._prefiller.fail_all  # type: ignore[method-assign]
    one.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation, "long"))
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert [str(error) for error in caught.value.exceptions] == ["not moved"]
    one.worker._prefiller.fail_all = fail_all  # type: ignore[method-assign]
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode"))
async def test_a_flip_meant_for_another_life_or_for_what_it_cannot_be_is_refused(one: Process) -> None:
    incarnation = one.worker.state().ref.incarnation
    with pytest.raises(IncarnationMismatch):
        one.flip(FlipRequest(Role.PREFILL, incarnation + 1))
    with pytest.raises(ChangeRefused, match="no encoder"):
        one.flip(FlipRequest(Role.ENCODER, incarnation))
    one.book.is_draining = True
    with pytest.raises(Draining):
        one.flip(FlipRequest(Role.PREFILL, incarnation))
    assert one.worker.state().role is Role.DECODE
    await one.worker.close()
