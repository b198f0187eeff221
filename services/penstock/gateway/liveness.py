"""Notices workers that neither work nor break their streams: stopped, hung, or cut off by a silent network.

A broken stream needs none of this. A silent one is asked whether its process lives; a worker that answers may take
its time (a long prompt says nothing while it is computed), but not without end.
"""

from collections.abc import Callable
from typing import Any

from penstock.core.errors import PenstockError, WorkerLost
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.network import Network
from penstock.gateway.tasks import OwnedTasks
from penstock.gateway.worker_session import WorkerSession
from penstock.gateway.worker_sessions import WorkerSessions

PREDICTION_SLACK = 10.0  # a first token this many times later than predicted will not come

AnySession = WorkerSession[Any, Any, Any, Any]


class Liveness:
    """Looks around at every tick; costs nothing per token."""

    def __init__(
        self,
        sessions: WorkerSessions,
        network: Network,
        tasks: OwnedTasks,
        limits: DispatchLimits,
        now_s: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._network = network
        self._tasks = tasks
        self._limits = limits
        self._now_s = now_s
        self._probed: set[int] = set()  # identities of sessions whose probe is under way

    def tick(self) -> None:
        for session in self._sessions.all():
            if session.attempts:
                self._look_at(session)
        now_s = self._now_s()
        for attempt in list(self._sessions.attempts.values()):
            patience_s = self._limits.stuck_timeout_s
            if attempt.decode is None:
                patience_s += PREDICTION_SLACK * attempt.candidate.predicted_s
            if attempt.stuck_for_s(now_s) > patience_s:
                attempt.end(WorkerLost("The request made no progress on a worker that answers."))

    def _look_at(self, session: AnySession) -> None:
        silent_s = session.silent_s()
        if silent_s > self._limits.silence_timeout_s:
            self._sessions.lose(session, f"it has been silent for {silent_s:.1f} s")
        elif silent_s > self._limits.probe_after_s and id(session) not in self._probed:
            self._probed.add(id(session))
            self._tasks.start(self._probe(session), lambda _: self._probed.discard(id(session)))

    async def _probe(self, session: AnySession) -> None:
        """Ask once; a worker that does not answer is asked again at a later tick, until its silence is too long."""
        try:
            await self._network.probe(session.ref.address, self._limits.probe_timeout_s)
        except PenstockError:
            return
        session.answered()
