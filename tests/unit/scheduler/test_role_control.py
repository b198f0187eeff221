"""Role control, live: what it may do, what it is told, what it tells."""

from dataclasses import replace
from typing import Any

import pytest

from penstock.core.errors import WorkerLost
from penstock.core.policies.flip_guard import FlipLimits
from penstock.core.pools import Steering
from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.core.types import GatewayLoad, Role
from penstock.scheduler.role_control import RoleControl
from penstock.scheduler.router import Router
from penstock.wire.messages import HeartbeatRequest
from tests.unit.workers import make_worker

RULES = RoleRules("combined", slo=Slo(1.0, 0.05), limits=FlipLimits(hold_s=2.0, cool_down_s=3.0))


class Controlled:
    """Two workers of each role, prompts queueing at the prefill ones, and a controller that looks each second."""

    def __init__(self, steering: Steering, clock: Any) -> None:
        self.clock = clock
        self.router = Router("default", now_s=clock)
        self.control = RoleControl(self.router, RULES, steering, clock)
        self.ordered: list[tuple[str, Role]] = []
        self.fails = False
        for index in range(2):
            self.router.admit(make_worker(f"prefill-{index}", num_prefill_tokens=100_000, prefill_s_per_token=1e-4))
        for index in range(2):
            self.router.admit(make_worker(f"decode-{index}", Role.DECODE))
        self.router.hear_gateway("g", GatewayLoad(3, 100, 100_000, 100, 2000, 300.0, 400.0))

    async def order(self, worker_id: str, role: Role) -> None:
        if self.fails:
            raise WorkerLost("It did not answer.")
        self.ordered.append((worker_id, role))
        state = next(worker for worker in self.router.workers if worker.ref.worker_id == worker_id)
        self.router.heartbeat(HeartbeatRequest(replace(state, role=role)))

    async def look(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now += 1.0
            for worker in self.router.workers:
                self.router.heartbeat(HeartbeatRequest(worker))
            await self.control.tick(self.order)


async def test_flips_towards_the_stage_that_is_short_and_says_why(clock: Any) -> None:
    one = Controlled(Steering.AUTO, clock)
    await one.look(2)
    assert one.ordered == []  # not before it has held for a while
    await one.look(2)
    assert one.ordered == [("decode-0", Role.PREFILL)]
    [change] = one.control.view.changes
    assert (change.subject, change.change, change.outcome) == ("decode-0", "decode to prefill", "done")
    assert "prefill is strained" in change.reason
    await one.look(20)
    assert len(one.ordered) == 1  # the last decode worker stays


@pytest.mark.parametrize("num_queued", [0, 10_000_000])
async def test_encoders_hold_other_weights_and_are_neither_taken_nor_relieved(clock: Any, num_queued: int) -> None:
    one = Controlled(Steering.AUTO, clock)
    for index in range(2):
        encoder = make_worker(f"e-{index}", Role.ENCODER, num_prefill_tokens=num_queued, prefill_s_per_token=1e-5)
        one.router.admit(encoder)
    await one.look(20)
    assert one.ordered == [("decode-0", Role.PREFILL)]


async def test_observing_says_what_it_would_do(clock: Any) -> None:
    one = Controlled(Steering.OBSERVE, clock)
    await one.look(4)
    assert one.ordered == []
    assert [(change.change, change.outcome) for change in one.control.view.changes] == [
        ("decode to prefill", "observed")
    ]


async def test_pinned_it_does_not_even_look(clock: Any) -> None:
    one = Controlled(Steering.AUTO, clock)
    assert one.control.steer(Steering.PINNED) is Steering.AUTO
    await one.look(10)
    assert (one.ordered, one.control.view.changes) == ([], ())
    assert one.control.view.steering is Steering.PINNED
    one.control.steer(Steering.AUTO)
    await one.look(4)
    assert len(one.ordered) == 1


async def test_a_flip_that_fails_is_told_and_tried_again_after_the_cool_down(clock: Any) -> None:
    one = Controlled(Steering.AUTO, clock)
    one.fails = True
    await one.look(4)
    assert [change.outcome for change in one.control.view.changes] == ["It did not answer."]
    one.fails = False
    await one.look(1)
    assert one.ordered == []
    await one.look(4)
    assert len(one.ordered) == 1


@pytest.mark.parametrize("policy", ["combined", "epd"])
async def test_an_encoder_is_neither_asked_to_give_nor_to_take(clock: Any, policy: str) -> None:
    """It could not be flipped: were it wished for, nobody else would be moved."""
    one = Controlled(Steering.AUTO, clock)
    one.control.rules = replace(RULES, policy=policy)
    for index in range(4):
        one.router.admit(make_worker(f"encoder-{index}", Role.ENCODER, num_waiting=0))
    one.router.admit(make_worker("encoder-4", Role.ENCODER, num_waiting=500, num_prefill_tokens=10**9))
    await one.look(8)
    assert one.ordered == [("decode-0", Role.PREFILL)]


@pytest.mark.parametrize("num_changes", [3, 100])
def test_keeps_the_latest_changes(clock: Any, num_changes: int) -> None:
    control = Controlled(Steering.AUTO, clock).control
    for number in range(num_changes):
        control.note(f"w{number}", "prefill to decode", "ordered", "done")
    kept = control.view.changes
    assert len(kept) == min(num_changes, 64)
    assert kept[-1].subject == f"w{num_changes - 1}"
