"""Scaling of one group by itself, live: it looks every few seconds, `core.pool_scaler` decides, orders carry out."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from penstock.core.errors import PenstockError
from penstock.core.policies.scaling import ScalingState
from penstock.core.pool_scaler import ScaleRules, decide
from penstock.core.pools import Steering
from penstock.core.reported_cost import reported_cost
from penstock.core.role_pressure import ClusterView
from penstock.core.types import Role
from penstock.scheduler.role_control import RoleControl
from penstock.scheduler.router import Router

log = logging.getLogger(__name__)

_RATE_WINDOW_S = 30.0
_SETTLES_S = 60.0  # a worker that was ordered loads its weights meanwhile: do not order it again

OrderScale = Callable[[Sequence[tuple[Role, int]]], Awaitable[object]]  # raises why it could not be carried out


class PoolControl:
    """Scales while role control may act; `control` has the steering."""

    def __init__(self, router: Router, control: RoleControl, rules: ScaleRules, now_s: Callable[[], float]) -> None:
        self.rules = rules
        self._router = router
        self._control = control
        self._now_s = now_s
        self._states: Mapping[Role, ScalingState] = {}
        self._arrivals: deque[tuple[float, int]] = deque()
        self._ordered_s = float("-inf")

    async def tick(self, order: OrderScale) -> None:
        """Decide, and order what was decided; called once per interval."""
        now_s = self._now_s()
        rate = self._arrival_rate(now_s)
        if self._control.steering is Steering.PINNED or now_s - self._ordered_s < _SETTLES_S:
            return
        workers = self._router.language_workers
        view = ClusterView(workers, self._router.demand(), reported_cost(workers))
        decision = decide(view, rate, self._states, now_s, self.rules)
        self._states = decision.states
        if decision.target is None:
            return
        role, num_workers = decision.target
        self._ordered_s = now_s
        change = f"{len(view.of(role))} to {num_workers} workers"
        if self._control.steering is Steering.OBSERVE:
            self._control.note(role.value, change, decision.reason, "observed")
            return
        try:
            await order([decision.target])
        except PenstockError as error:
            self._control.note(role.value, change, decision.reason, error.message)
        else:
            self._control.note(role.value, change, decision.reason, "done")

    def _arrival_rate(self, now_s: float) -> float:
        """Requests/s over the last half minute."""
        self._arrivals.append((now_s, self._router.num_arrived))
        while now_s - self._arrivals[0][0] > _RATE_WINDOW_S:
            self._arrivals.popleft()
        began_s, num_before = self._arrivals[0]
        return (self._router.num_arrived - num_before) / max(self.rules.interval_s, now_s - began_s)
