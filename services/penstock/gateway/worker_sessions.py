"""The streams of a gateway to workers, by worker life, and every live attempt by its handle."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import Any

from penstock.core.errors import PenstockError, RequestCancelled
from penstock.core.policies.forwarding import InFlight, WorkerLife, life_of
from penstock.core.types import WorkerRef, WorkerState
from penstock.gateway.attempt import Attempt
from penstock.gateway.decode_listener import DecodeListener, pack_decode_calls
from penstock.gateway.image_errands import EncodeSession, ImageErrands, pack_encode_calls
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.network import Network
from penstock.gateway.prefill_listener import PrefillListener, pack_prefill_calls
from penstock.gateway.stream import Stream
from penstock.gateway.tasks import OwnedTasks
from penstock.gateway.worker_session import WorkerSession
from penstock.wire.encode_messages import EncodeCalls
from penstock.wire.messages import DecodeCalls, Hello, PrefillCalls, PrefillEvents, PrefillStart, StepOutputs

PrefillSession = WorkerSession[PrefillStart | int, PrefillCalls, PrefillEvents, Attempt]
DecodeSession = WorkerSession[int, DecodeCalls, StepOutputs, Attempt]
AnySession = WorkerSession[Any, Any, Any, Any]

logger = logging.getLogger(__name__)


class WorkerSessions:
    """Opens a stream on first use; keeps it until it breaks, or the worker has left and nothing needs it."""

    def __init__(
        self,
        me: Hello,
        network: Network,
        tasks: OwnedTasks,
        metrics: GatewayMetrics,
        limits: DispatchLimits,
        now_s: Callable[[], float],
    ) -> None:
        self.on_capacity: Callable[[], None] = lambda: None
        self.attempts: dict[int, Attempt] = {}
        self.gateway_id = me.caller_id
        self._me = me
        self._network = network
        self._tasks = tasks
        self._now_s = now_s
        self._metrics = metrics
        self._suspect_s = limits.suspect_s
        self._suspects: dict[WorkerLife, float] = {}  # lost a moment ago; until when to try them last
        self._prefills: dict[WorkerLife, PrefillSession] = {}
        self._decodes: dict[WorkerLife, DecodeSession] = {}
        self._encodes: dict[WorkerLife, EncodeSession] = {}
        self.images = ImageErrands(self._encode, self.suspects, now_s)
        self._prefill_listener = PrefillListener(
            self.attempts, self._find_decode, self.images.want, self._has_capacity, now_s
        )
        self._decode_listener = DecodeListener(self.attempts, now_s)

    def offer(self, attempt: Attempt) -> None:
        """Send the offer; streams to everyone who may send tokens for it are opened first."""
        self.attempts[attempt.handle] = attempt
        for ref in attempt.start.decode_candidates:
            self._decode(ref)
        session = self._prefill(attempt.candidate.ref)
        attempt.prefill = session
        session.hold(attempt)
        session.send(attempt.start)

    def ended(self, attempt: Attempt, error: PenstockError | None) -> None:
        """Forget an attempt, and stop its work on every worker that may hold some of it.

        Even of one that is finished, unless it is settled: its prefill worker may be looking for another to begin it.
        """
        del self.attempts[attempt.handle]
        self.images.ended(attempt)
        if attempt.is_refused or (error is None and attempt.is_settled):
            return
        if prefill := self._prefills.get(life_of(attempt.candidate.ref)):
            prefill.send(attempt.handle)
        for ref in attempt.start.decode_candidates:
            if decode := self._decodes.get(life_of(ref)):
                decode.send(attempt.handle)

    def all(self) -> Iterator[AnySession]:
        yield from list(self._prefills.values())
        yield from list(self._encodes.values())
        yield from list(self._decodes.values())

    def lose(self, session: AnySession, reason: str) -> None:
        """Give a worker up: every attempt on this stream goes on elsewhere, and others try this worker last."""
        logger.warning("worker %s was lost: %s", session.ref.worker_id, reason)
        if session.life not in self._suspects:  # a worker's two streams break together
            self._metrics.lost_workers.value += 1
        self.suspect(session.life)
        session.lose(reason)
        for attempt in list(self.attempts.values()):
            if attempt.decode is None and not any(map(self._find_decode, attempt.start.decode_candidates)):
                attempt.cut_off()

    def suspect(self, life: WorkerLife) -> None:
        """Try this worker last for a moment: it was lost, or does not answer."""
        self._suspects[life] = self._now_s() + self._suspect_s

    def suspects(self) -> set[WorkerLife]:
        now_s = self._now_s()
        self._suspects = {life: until_s for life, until_s in self._suspects.items() if until_s > now_s}
        return set(self._suspects)

    def in_flight(self) -> dict[WorkerLife, InFlight]:
        """What this gateway has under way, by worker; a prefill counts for its first decode candidate too."""
        prefill_tokens: dict[WorkerLife, int] = {}
        decodes = {life: len(session.attempts) for life, session in self._decodes.items()}
        for life, session in self._prefills.items():
            prefill_tokens[life] = sum(attempt.num_prefill_tokens for attempt in session.attempts.values())
            for attempt in session.attempts.values():
                if attempt.decode is None:
                    first = life_of(attempt.start.decode_candidates[0])
                    decodes[first] = decodes.get(first, 0) + 1
        lives = prefill_tokens.keys() | decodes.keys()
        return {life: InFlight(prefill_tokens.get(life, 0), decodes.get(life, 0)) for life in lives}

    def keep_only(self, workers: Sequence[WorkerState]) -> None:
        """Lose lives that the membership says are over; close what has left and is not needed any more."""
        members = {worker.ref.worker_id: worker.ref.incarnation for worker in workers}
        strangers = [session for session in self.all() if members.get(session.life[0]) != session.life[1]]
        if not strangers:
            return
        needed = {life_of(ref) for attempt in self.attempts.values() for ref in attempt.start.decode_candidates}
        for session in strangers:
            if session.life[0] in members:
                self.lose(session, "it was restarted")
            elif not session.attempts and session.life not in needed:
                session.lose("it has left")

    def end_all(self) -> None:
        """Cancel every attempt, on every worker."""
        for attempt in list(self.attempts.values()):
            attempt.end(RequestCancelled("The gateway is stopping."))

    def _has_capacity(self) -> None:
        self.on_capacity()

    def _find_decode(self, ref: WorkerRef) -> DecodeSession | None:
        session = self._decodes.get(life_of(ref))
        return None if session is None or session.is_lost else session

    def _prefill(self, ref: WorkerRef) -> PrefillSession:
        session = self._prefills.get(life_of(ref))
        if session is None or session.is_lost:
            stream = Stream(
                lambda calls: self._network.prefill(ref.address, calls),
                PrefillCalls(hello=self._hello(ref)),
                pack_prefill_calls,
            )
            session = self._prefills[life_of(ref)] = WorkerSession(ref, stream, self._now_s)
            self._run(session, self._prefill_listener.on_events, self._prefills)
        return session

    def _encode(self, ref: WorkerRef) -> EncodeSession:
        session = self._encodes.get(life_of(ref))
        if session is None or session.is_lost:
            stream = Stream(
                lambda calls: self._network.encode(ref.address, calls),
                EncodeCalls(hello=self._hello(ref)),
                pack_encode_calls,
                max_items=1,  # files may be large
            )
            opened = session = self._encodes[life_of(ref)] = WorkerSession(ref, stream, self._now_s)
            self._run(session, lambda events: self.images.on_events(opened, events), self._encodes)
        return session

    def _decode(self, ref: WorkerRef) -> DecodeSession:
        session = self._decodes.get(life_of(ref))
        if session is None or session.is_lost:
            stream = Stream(
                lambda calls: self._network.decode(ref.address, calls),
                DecodeCalls(hello=self._hello(ref)),
                pack_decode_calls,
            )
            opened = session = self._decodes[life_of(ref)] = WorkerSession(ref, stream, self._now_s)
            self._run(session, lambda step: self._decode_listener.on_step(opened, step), self._decodes)
        return session

    def _hello(self, ref: WorkerRef) -> Hello:
        return Hello(self._me.caller_id, self._me.caller_incarnation, ref.incarnation)

    def _run(
        self,
        session: AnySession,
        on_events: Callable[[Any], None],
        sessions: dict[WorkerLife, Any],
    ) -> None:
        def over(error: BaseException | None) -> None:
            if error is not None:
                logger.error("stream to %s failed", session.ref.worker_id, exc_info=error)
            if sessions.get(session.life) is session:
                del sessions[session.life]
            if not session.is_lost:
                self.lose(session, session.reason)

        # in a context of its own: it outlives the request that happens to be the first to need it
        session.task = self._tasks.start(session.run(on_events), over, Context())
