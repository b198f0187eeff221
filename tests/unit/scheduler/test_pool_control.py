"""Scaling by itself: when it looks, when it orders, what it tells."""

from collections.abc import Sequence
from typing import Any

import pytest

from penstock.core.errors import ChangeRefused
from penstock.core.pool_scaler import ScaleRules
from penstock.core.pools import Steering
from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.core.types import GatewayLoad, Role
from penstock.scheduler.pool_control import PoolControl
from penstock.scheduler.role_control import RoleControl
from penstock.scheduler.router import Router
from tests.unit.workers import make_worker

SLO = Slo(1.0, 0.05)


class Scaled:
    """One worker of each role, and more requests than they can serve: 40 a second, of 1,000 tokens."""

    def __init__(self, clock: Any, steering: Steering = Steering.AUTO) -> None:
        self.clock = clock
        self.router = Router("default", now_s=clock)
        self.control = RoleControl(self.router, RoleRules("none", slo=SLO), steering, clock)
        self.pools = PoolControl(self.router, self.control, ScaleRules(16, slo=SLO), clock)
        self.ordered: list[tuple[Role, int]] = []
        self.refusal: ChangeRefused | None = None
        self.router.admit(make_worker("p0", Role.PREFILL, prefill_s_per_token=1e-4))
        self.router.admit(make_worker("d0", Role.DECODE, max_num_sequences=16))
        self.num_arrived = 0

    async def order(self, targets: Sequence[tuple[Role, int]]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.ordered += targets

    async def look(self, times: int) -> None:
        for _ in range(times):
            self.clock.now += 5.0
            self.num_arrived += 200
            load = GatewayLoad(0, self.num_arrived, 1000 * self.num_arrived, 100, 2000, 30.0, 100.0)
            self.router.hear_gateway("g", load)
            await self.pools.tick(self.order)


async def test_what_an_encoder_measures_is_no_cost_of_prefill(clock: Any) -> None:
    alone, beside = Scaled(clock), Scaled(clock)
    beside.router.admit(make_worker("e0", Role.ENCODER, prefill_s_per_token=1e-9))
    await alone.look(4)
    await beside.look(4)
    assert beside.ordered == alone.ordered != []


async def test_orders_what_is_missing_once_and_says_why(clock: Any) -> None:
    one = Scaled(clock)
    await one.look(4)
    [(role, count)] = one.ordered
    assert role is Role.PREFILL
    assert count > 1
    [change] = one.control.view.changes
    assert (change.subject, change.outcome) == ("prefill", "done")
    assert "requests/s need" in change.reason
    await one.look(6)
    assert len(one.ordered) == 1  # the new ones load their weights
    await one.look(12)
    assert len(one.ordered) == 2  # they never came


@pytest.mark.parametrize(("steering", "outcomes"), [(Steering.OBSERVE, ["observed"]), (Steering.PINNED, [])])
async def test_does_what_steering_lets_it(clock: Any, steering: Steering, outcomes: list[str]) -> None:
    one = Scaled(clock, steering)
    await one.look(4)
    assert one.ordered == []
    assert [change.outcome for change in one.control.view.changes] == outcomes


async def test_a_refusal_is_told(clock: Any) -> None:
    one = Scaled(clock)
    one.refusal = ChangeRefused("No quota.")
    await one.look(4)
    assert [change.outcome for change in one.control.view.changes] == ["No quota."]
