"""Roles of simulated workers, changed as `core.role_controller` decides.

Prefill and decode workers flip at once: the heartbeat that goes out with the flip has work of the new role routed to
them, and work of the old one drains beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.core.demand import DemandMeter
from penstock.core.policies import flip_guard
from penstock.core.policies.flip_guard import FlipState
from penstock.core.pools import Flip
from penstock.core.reported_cost import reported_cost
from penstock.core.role_controller import RoleRules, decide
from penstock.core.role_pressure import ClusterView
from penstock.core.step_cost import StepCost
from penstock.simulator.router import SimulatedRouter
from penstock.simulator.worker import SimulatedWorker


@dataclass(frozen=True, slots=True)
class FlipRecord:
    """One change of role, for tables and plots."""

    time_s: float
    worker_id: str
    from_role: str
    to_role: str
    reason: str


class RoleControl:
    """Asks the controller once per interval and carries out what it decides. `cost` None: learnt from heartbeats."""

    def __init__(
        self,
        rules: RoleRules,
        router: SimulatedRouter,
        workers: Mapping[str, SimulatedWorker],
        cost: StepCost | None,
        on_flip: Callable[[SimulatedWorker], None],
    ) -> None:
        self.rules = rules
        self.meter = DemandMeter()
        self.flips: list[FlipRecord] = []
        self._router = router
        self._workers = workers
        self._cost = cost
        self._on_flip = on_flip
        self._state = FlipState()

    def tick(self, num_waiting: int, now_s: float) -> None:
        """Decide and act; `num_waiting` requests wait at the gateway."""
        states = self._router.book.states
        view = ClusterView(states, self.meter.demand(num_waiting), self._cost or reported_cost(states))
        decision = decide(view, self._router.take_wish(), self._state, now_s, self.rules)
        self._state = decision.state
        if decision.flip is not None:
            self._begin(decision.flip, decision.proposal.reason, now_s)

    def _begin(self, flip: Flip, reason: str, now_s: float) -> None:
        worker = self._workers[flip.worker_id]
        if worker.is_alive:
            self.flips.append(FlipRecord(now_s, flip.worker_id, flip.from_role.value, flip.to_role.value, reason))
            worker.role = flip.to_role
            self._on_flip(worker)
        self._state = flip_guard.finish(self._state, now_s)
