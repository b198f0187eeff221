"""The role controller of one group, live: it looks a few times a second, decides with `core`, acts through orders.

What it or an operator changed is kept for a while and shown to people: in the log, in `/cluster`, by `penstock roles`.
"""

import logging
from collections import deque
from collections.abc import Callable

from penstock.core.pools import RoleChange, RolesView, Steering

log = logging.getLogger(__name__)

_NUM_CHANGES_KEPT = 64


class RoleControl:
    """Steering of one group, and what came of it."""

    def __init__(self, steering: Steering, now_s: Callable[[], float]) -> None:
        self.steering = steering
        self._now_s = now_s
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
        self._changes.append(RoleChange(self._now_s(), subject, change, reason, outcome))
