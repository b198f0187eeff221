"""Takes one request through as many attempts as it needs, until it is finished or cannot be.

    route --> offer to the candidates in turn --> accepted --> ended ok: done
      ^            | all refuse: wait for capacity    | lost: go on elsewhere, after the tokens delivered so far
      +------------+----------------------------------+

Life of a request: steps 2 to 8. The tokens themselves do not pass through here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from penstock.core.blocks import HASH_BLOCK_TOKENS, hash_blocks
from penstock.core.errors import (
    DeadlineExceeded,
    NoWorkers,
    Overloaded,
    PenstockError,
    RequestCancelled,
    UnreadableImage,
    WorkerLost,
)
from penstock.core.images import hashed_token_ids
from penstock.core.patience import Patience
from penstock.core.policies.forwarding import (
    WorkerLife,
    excluded_ids,
    life_of,
    order_candidates,
    waits_for_capacity,
)
from penstock.core.timeline import Stage
from penstock.core.types import Candidate, FinishReason, Request, RouteQuery, RoutingDecision, WorkerRef
from penstock.gateway.attempt import Attempt, ImageSources
from penstock.gateway.generation import Generation
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.request_trace import RequestTrace
from penstock.gateway.routes import Routes
from penstock.gateway.waiting_queue import WaitingQueue
from penstock.gateway.worker_sessions import WorkerSessions
from penstock.runtime.tracing import Tracer
from penstock.wire.messages import PrefillStart

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every request of a gateway shares."""

    routes: Routes
    sessions: WorkerSessions
    queue: WaitingQueue
    limits: DispatchLimits
    metrics: GatewayMetrics
    tracer: Tracer
    numbers: Iterator[int]  # handles and arrivals, unique within the gateway's life
    now_s: Callable[[], float]


class RequestDriver:
    """One task per request; it sleeps while the tokens stream."""

    def __init__(self, request: Request, generation: Generation, desk: Desk, files: Sequence[bytes] = ()) -> None:
        self._request = request
        self.files = files  # of the request's images; kept to its end, for every attempt may need them
        self._generation = generation
        self._desk = desk
        self._patience = Patience(request.first_token_deadline_s, request.priority, next(desk.numbers), desk.now_s())
        self._num_attempts = 0
        self._num_losses = 0
        self._lost: set[WorkerLife] = set()  # by this request; not asked again while others are left
        self._backoff_s = desk.limits.min_backoff_s
        self._has_waited = False
        self._has_turn = False  # woken, and not yet known whether there is room
        self._attempt: Attempt | None = None
        self._trace = RequestTrace(desk.tracer, request, generation.timeline, desk.now_s)

    async def run(self) -> None:
        try:
            await self._run()
        except PenstockError as error:
            self._generation.fail(error)
        finally:
            self._pass_turn()

    def cancel(self) -> None:
        """Stop the work on every worker at once; the owner of the task cancels the task."""
        if self._attempt is not None:
            self._attempt.end(RequestCancelled("The request was cancelled."))

    # --- between attempts ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        is_refused = not self._desk.queue.would_lead(self._patience.place)  # nobody overtakes those who wait
        while not self._generation.is_ended:
            if is_refused:
                await self._wait_for_capacity()
            if self._desk.now_s() >= self._patience.deadline_s:
                raise DeadlineExceeded("No worker could begin this request before its deadline; try again later.")
            num_tokens = len(self._generation.output_token_ids)
            error = await self._try_once()
            if len(self._generation.output_token_ids) > num_tokens:
                self._patience.brought_tokens(self._desk.now_s())
            is_refused = error is not None and waits_for_capacity(error)
            if is_refused:
                self._has_turn = False
            elif error is not None:
                await self._after(error)

    async def _after(self, error: PenstockError) -> None:
        """There was nobody to try, or the attempt was lost."""
        self._pass_turn()
        if isinstance(error, NoWorkers):
            self._lost.clear()  # better one that failed before than none
            await self._wait_for_workers(error)
            return
        if isinstance(error, UnreadableImage):
            raise error
        self._num_losses += 1
        self._generation.num_resumes += 1
        self._desk.metrics.resumes.add(error.code)
        logger.warning("request %s goes on elsewhere: %s", self._request.request_id, error.message)
        if len(self._generation.output_token_ids) >= self._request.sampling.max_tokens:
            self._generation.finish(FinishReason.LENGTH)  # only the news of its end was lost
        elif self._num_losses >= self._desk.limits.max_losses:
            raise error
        elif self._num_losses > 1:  # the first time at once: a reader is waiting
            limits = self._desk.limits
            await self._desk.routes.changed(min(limits.max_backoff_s, limits.min_backoff_s * 2**self._num_losses / 4))

    async def _wait_for_capacity(self) -> None:
        if self._desk.queue.is_full and not self._has_waited and not self._patience.is_streaming:
            raise Overloaded("Too many requests are waiting already; try again later.")
        self._has_waited = True  # it keeps its place from now on, however many come after it
        begun = self._trace.begin()
        until_s = self._patience.until_s(self._desk.limits.give_up_s)
        has_turn = await self._desk.queue.wait(self._patience.place, max(0.0, until_s - begun.began_s))
        self._desk.metrics.queue_s.observe(self._desk.now_s() - begun.began_s)
        self._trace.end_stage(Stage.QUEUE, begun)
        self._has_turn = has_turn
        if not has_turn:
            raise DeadlineExceeded("Every worker is busy, and this request cannot wait any longer; try again later.")

    def _pass_turn(self) -> None:
        """It needs no capacity any more, or found some: perhaps there is enough for others."""
        if self._has_turn:
            self._has_turn = False
            self._desk.queue.wake(2)

    async def _wait_for_workers(self, error: NoWorkers) -> None:
        limits = self._desk.limits
        wait_s = limits.give_up_s if self._patience.is_streaming else limits.no_workers_timeout_s
        left_s = min(self._patience.deadline_s, self._patience.progress_s + wait_s) - self._desk.now_s()
        if left_s <= 0:
            raise error
        await self._desk.routes.changed(min(left_s, self._backoff_s))
        self._backoff_s = min(2 * self._backoff_s, limits.max_backoff_s)

    # --- one attempt --------------------------------------------------------------------------------------------------

    async def _try_once(self) -> PenstockError | None:
        """Route, and offer to the candidates in turn. None: finished; else why nobody has finished it."""
        try:
            decision = await self._route()
        except NoWorkers as nobody:
            return nobody
        sessions = self._desk.sessions
        result: PenstockError = NoWorkers("No worker answered.")
        decodes = [ranked.ref for ranked in order_candidates(decision.decode, self._lost, sessions.suspects())]
        if decision.disaggregate and not decodes:
            return NoWorkers("Every decode worker was lost.")
        images = ImageSources(self.files, [ranked.ref for ranked in decision.encoders])
        for candidate in order_candidates(decision.prefill, self._lost, sessions.suspects()):
            on = decodes if decision.disaggregate else [candidate.ref]
            attempt = self._attempt = self._offer(candidate, on, images)
            error = await self._verdict(attempt)
            if attempt.is_accepted:
                self._backoff_s = self._desk.limits.min_backoff_s
                self._pass_turn()
                error = await attempt.ended
                self._attempt = None
                if error is not None and not waits_for_capacity(error):
                    self._lost.update(map(life_of, attempt.blamed))
                return error
            if error is not None and waits_for_capacity(error):
                result = error
            else:
                self._lost.add(life_of(candidate.ref))
            if self._generation.is_ended:
                return None
        return result

    async def _route(self) -> RoutingDecision:
        begun = self._trace.begin()
        query = RouteQuery(
            self._request.request_id,
            len(self._request.prompt_token_ids) + len(self._generation.output_token_ids),
            self._request.sampling.max_tokens - len(self._generation.output_token_ids),
            self._request.block_hashes,
            excluded_ids(self._lost, self._desk.routes.router.workers),
            begun.traceparent,
            [image.num_patches for image in self._request.images],
        )
        decision = await self._desk.routes.find(query)
        self._trace.end_stage(Stage.ROUTE, begun)
        return decision

    def _offer(self, candidate: Candidate, decodes: Sequence[WorkerRef], images: ImageSources) -> Attempt:
        """Every offer is an attempt with its own handle: what a silent worker does with an old one cannot matter."""
        begun = self._trace.begin()

        def ended(attempt: Attempt, error: PenstockError | None) -> None:
            self._desk.sessions.ended(attempt, error)
            self._trace.end_attempt(attempt, begun, error)

        start = PrefillStart(self._as_attempt(begun.traceparent), decodes)
        attempt = Attempt(start, self._generation, candidate, ended, images)
        self._desk.sessions.offer(attempt)
        return attempt

    async def _verdict(self, attempt: Attempt) -> PenstockError | None:
        """Accepted (None), or why not. A worker that says neither in time is passed over, and suspect for a while."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._desk.limits.verdict_timeout_s, self._pass_over, attempt)
        try:
            error = await attempt.verdict
        finally:
            timer.cancel()
        if error is not None and attempt.is_refused:
            self._desk.metrics.rejections.add(error.code)
        return error

    def _pass_over(self, attempt: Attempt) -> None:
        if not attempt.is_accepted:
            self._desk.sessions.suspect(life_of(attempt.candidate.ref))
            attempt.end(WorkerLost(f"Worker {attempt.candidate.ref.worker_id} did not answer an offer in time."))

    def _as_attempt(self, traceparent: str) -> Request:
        """The request as the next worker sees it: what was delivered is context now."""
        output = tuple(self._generation.output_token_ids)
        hashes = self._request.block_hashes
        if output and hashes:
            known = hashed_token_ids((*self._request.prompt_token_ids, *output), self._request.images)
            fresh = known[len(hashes) * HASH_BLOCK_TOKENS :]
            hashes = (*hashes, *hash_blocks(fresh, parent=hashes[-1]))
        attempt = self._num_attempts
        self._num_attempts += 1
        return replace(
            self._request,
            attempt=attempt,
            handle=next(self._desk.numbers),
            gateway_id=self._desk.sessions.gateway_id,
            output_token_ids=output,
            block_hashes=hashes,
            first_token_deadline_s=float("inf") if output else self._request.first_token_deadline_s,
            traceparent=traceparent,
        )
