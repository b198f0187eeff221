"""Roles of simulated workers, changed as `core.role_controller` decides.

Prefill and decode workers flip at once: the heartbeat that goes out with the flip has work of the new role routed to
them, and work of the old one drains beside it. Between encoding and language work a worker exchanges its weights: it
takes nothing new, finishes what it has, is away for `encoder_switch_s`, and comes back in its new role.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from penstock.core.demand import DemandMeter
from penstock.core.policies import flip_guard
from penstock.core.policies.flip_guard import FlipState
from penstock.core.pools import Flip
from penstock.core.reported_cost import reported_cost
from penstock.core.role_controller import RoleRules, decide
from penstock.core.role_pressure import ClusterView
from penstock.core.step_cost import StepCost
from penstock.core.types import Role
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


@dataclass(frozen=True, slots=True)
class Switch:
    """A worker on its way between encoding and language work; `idle_s` is since when it has nothing left to do."""

    worker: SimulatedWorker
    to_role: Role
    idle_s: float | None = None


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
        self._switch: Switch | None = None

    def tick(self, num_waiting: int, now_s: float) -> None:
        """Decide and act; `num_waiting` requests wait at the gateway."""
        if self._switch is not None:
            self._switch = self._advance(self._switch, now_s)
        workers = self._router.workers
        view = ClusterView(workers, self.meter.demand(num_waiting), self._cost or reported_cost(workers))
        decision = decide(view, self._router.take_wish(), self._state, now_s, self.rules)
        self._state = decision.state
        if decision.flip is not None:
            self._begin(decision.flip, decision.proposal.reason, now_s)

    def _begin(self, flip: Flip, reason: str, now_s: float) -> None:
        worker = self._workers[flip.worker_id]
        if worker.is_alive:
            self.flips.append(FlipRecord(now_s, flip.worker_id, flip.from_role.value, flip.to_role.value, reason))
            if Role.ENCODER in (flip.from_role, flip.to_role):
                worker.is_draining = True
                self._switch = Switch(worker, flip.to_role)
                self._on_flip(worker)
                return
            worker.role = flip.to_role
            self._on_flip(worker)
        self._state = flip_guard.finish(self._state, now_s)

    def _advance(self, switch: Switch, now_s: float) -> Switch | None:
        """The switch as it stands now; None when it is over."""
        worker = switch.worker
        if worker.is_alive:
            if not worker.is_idle:
                return switch
            if switch.idle_s is None:
                return replace(switch, idle_s=now_s)
            if now_s - switch.idle_s < self.rules.encoder_switch_s:
                return switch
            worker.role, worker.is_draining = switch.to_role, False
            self._on_flip(worker)
        self._state = flip_guard.finish(self._state, now_s)
        return None
