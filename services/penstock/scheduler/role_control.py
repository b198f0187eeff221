"""The role controller of one group, live: it looks once per interval, `core.role_controller` decides, orders carry out.

    router's workers, demand, wish --> decide --> steering: pinned (not asked), observe (said), auto (flip ordered)

What it or an operator changed is kept for a while and shown to people: in the log, in `/cluster`, by `penstock roles`.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable

from penstock.core.errors import PenstockError
from penstock.core.policies import flip_guard
from penstock.core.policies.flip_guard import FlipState
from penstock.core.pools import Flip, RoleChange, RolesView, Steering
from penstock.core.reported_cost import reported_cost
from penstock.core.role_controller import Proposal, RoleRules, decide
from penstock.core.role_pressure import ClusterView
from penstock.core.types import Role
from penstock.scheduler.router import Router

log = logging.getLogger(__name__)

_NUM_CHANGES_KEPT = 64

OrderFlip = Callable[[str, Role], Awaitable[object]]  # raises why it could not be carried out


class RoleControl:
    """Steering of one group, and what came of it."""

    def __init__(self, router: Router, rules: RoleRules, steering: Steering, now_s: Callable[[], float]) -> None:
        self.steering = steering
        self.rules = rules
        self.on_change: Callable[[RoleChange], None] = lambda change: None
        self._router = router
        self._now_s = now_s
        self._state = FlipState()
        self._proposed = Proposal()
        self._changes: deque[RoleChange] = deque(maxlen=_NUM_CHANGES_KEPT)

    @property
    def view(self) -> RolesView:
        return RolesView(self.steering, tuple(self._changes))

    def steer(self, steering: Steering) -> Steering:
        """Allow it something else; returns what it might do before."""
        previous, self.steering = self.steering, steering
        log.info("role control: %s instead of %s", steering.value, previous.value)
        return previous

    def note(self, subject: str, change: str, reason: str, outcome: str) -> None:
        """Keep and log one change."""
        log.info("%s: %s (%s): %s", subject, change, reason, outcome)
        noted = RoleChange(self._now_s(), subject, change, reason, outcome)
        self._changes.append(noted)
        self.on_change(noted)

    async def tick(self, order_flip: OrderFlip) -> None:
        """Decide, and carry out what was decided; called once per interval."""
        wished = self._router.take_wish()
        if self.steering is Steering.PINNED:
            self._state = FlipState()
            return
        workers = self._router.language_workers
        view = ClusterView(workers, self._router.demand(), reported_cost(workers))
        decision = decide(view, wished, self._state, self._now_s(), self.rules)
        self._state = decision.state
        if decision.proposal != self._proposed:
            self._proposed = decision.proposal
            log.debug("role control proposes %s: %s", decision.proposal.flip, decision.proposal.reason)
        if decision.flip is not None:
            await self._carry_out(decision.flip, decision.proposal.reason, order_flip)

    async def _carry_out(self, flip: Flip, reason: str, order_flip: OrderFlip) -> None:
        outcome = "observed"
        try:
            if self.steering is Steering.AUTO:
                await order_flip(flip.worker_id, flip.to_role)
                outcome = "done"
        except PenstockError as error:
            outcome = error.message
        self._state = flip_guard.finish(self._state, self._now_s())
        self.note(flip.worker_id, f"{flip.from_role.value} to {flip.to_role.value}", reason, outcome)
