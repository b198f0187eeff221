"""Takes one simulated request through as many attempts as it needs. Mirrors `gateway.request_driver`.

(encode, if there are images) --> route --> offer to the candidates in turn --> accepted --> ended ok: done
                                    ^            | all refuse: wait for capacity    | lost: go on elsewhere, after the
                                    +------------+----------------------------------+ tokens delivered so far
"""

from collections.abc import Sequence
from functools import partial

from penstock.core.errors import DeadlineExceeded, NoWorkers, Overloaded, PenstockError, WorkerLost
from penstock.core.patience import Patience
from penstock.core.policies.forwarding import WorkerLife, excluded_ids, life_of, order_candidates, waits_for_capacity
from penstock.core.routing_orders import Ranking
from penstock.core.timeline import Span, Stage, Timeline
from penstock.core.types import Candidate, WorkerRef
from penstock.simulator.asking import Conversation
from penstock.simulator.attempt import Attempt
from penstock.simulator.enclosures import Enclosures
from penstock.simulator.encoding import Encoding
from penstock.simulator.gateway import Desk
from penstock.simulator.transfers import Port
from penstock.simulator.workload import RequestSpec


class SimulatedDriver:
    """From arrival to end; it does nothing while the tokens stream."""

    def __init__(self, spec: RequestSpec, desk: Desk) -> None:
        now_s, number = desk.events.now_s, next(desk.numbers)
        self._desk = desk
        self._timeline = Timeline(now_s)
        self._conversation = Conversation(spec, number, self._timeline)
        self._patience = Patience(now_s + spec.first_token_deadline_s, spec.priority, number, now_s)
        self._num_losses = 0
        self._lost: set[WorkerLife] = set()
        self._backoff_s = desk.limits.min_backoff_s
        self._has_waited = False
        self._has_turn = False
        self._enclosures = Enclosures()
        self._began_s = now_s  # of the wait or the route in progress

    def begin(self) -> None:
        if self._conversation.spec.num_images:
            Encoding(self._conversation, self._desk, self._on_encoded).begin()
        else:
            self._begin_prompt()

    def _on_encoded(self, is_encoded: bool, embeddings: Sequence[tuple[Port, int]]) -> None:
        self._record(Stage.ENCODE)
        num_patches = 0 if is_encoded else self._conversation.spec.num_patches
        self._enclosures = Enclosures(num_patches, embeddings)
        self._begin_prompt()

    def _begin_prompt(self) -> None:
        if self._desk.queue.would_lead(self._patience.place):
            self._route()
        else:  # nobody overtakes those who wait
            self._wait_for_capacity()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wait_for_capacity(self) -> None:
        desk = self._desk
        self._has_turn = False
        if desk.queue.is_full and not self._has_waited and not self._patience.is_streaming:
            self._over(Overloaded("Too many requests are waiting already; try again later."))
            return
        self._has_waited = True
        self._began_s = desk.events.now_s
        until_s = self._patience.until_s(desk.limits.give_up_s)
        desk.queue.wait(self._patience.place, until_s, self._on_turn)

    def _on_turn(self, has_turn: bool) -> None:
        self._record(Stage.QUEUE)
        self._has_turn = has_turn
        if has_turn:
            self._route()
        else:
            self._over(DeadlineExceeded("Every worker is busy, and this request cannot wait any longer."))

    def _pass_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._desk.queue.wake(2)

    def _wait_for_workers(self) -> None:
        limits, now_s = self._desk.limits, self._desk.events.now_s
        self._lost.clear()  # better one that failed before than none
        wait_s = limits.give_up_s if self._patience.is_streaming else limits.no_workers_timeout_s
        left_s = min(self._patience.deadline_s, self._patience.progress_s + wait_s) - now_s
        if left_s <= 0:
            self._over(NoWorkers("No worker can take this request."))
            return
        self._desk.events.after(min(left_s, self._backoff_s), self._route)
        self._backoff_s = min(2 * self._backoff_s, limits.max_backoff_s)

    # --- routing ------------------------------------------------------------------------------------------------------

    def _route(self) -> None:
        events = self._desk.events
        if events.now_s >= self._patience.deadline_s:
            self._over(DeadlineExceeded("No worker could begin this request before its deadline."))
            return
        self._began_s = events.now_s
        events.after(self._desk.rpc_s, self._ask)

    def _ask(self) -> None:
        """The query has reached the router."""
        router = self._desk.router
        query = self._conversation.query(excluded_ids(self._lost, router.workers) if self._lost else frozenset())
        ranking = router.answer(query, self._desk.events.now_s)
        self._desk.events.after(self._desk.rpc_s, partial(self._on_route, ranking))

    def _on_route(self, ranking: Ranking | None) -> None:
        self._record(Stage.ROUTE)
        desk = self._desk
        if ranking is None:
            self._pass_turn()
            self._wait_for_workers()
            return
        decision, self._enclosures.fetches = ranking.decision, ranking.fetches
        suspects = desk.suspects()
        decodes = [ranked.ref for ranked in order_candidates(decision.decode, self._lost, suspects)]
        prefills = order_candidates(decision.prefill, self._lost, suspects)
        if not prefills or (decision.disaggregate and not decodes):
            self._pass_turn()
            self._wait_for_workers()
            return
        self._offer(prefills, decodes if decision.disaggregate else None, NoWorkers("No worker answered."))

    # --- offering -----------------------------------------------------------------------------------------------------

    def _offer(
        self, candidates: Sequence[Candidate], decodes: Sequence[WorkerRef] | None, result: PenstockError
    ) -> None:
        """Offer to the first of `candidates`; when none is left, go on with `result`."""
        if not candidates:
            if waits_for_capacity(result):
                self._wait_for_capacity()
            else:
                self._pass_turn()
                self._wait_for_workers()
            return
        desk, candidate = self._desk, candidates[0]
        verdict = partial(self._on_verdict, candidates[1:], decodes, result)
        refs = [candidate.ref] if decodes is None else decodes
        request = self._conversation.next_attempt(next(desk.numbers), self._patience.deadline_s)
        attempt = Attempt(request, candidate, refs, self._timeline, verdict, self._on_end)
        desk.events.after(desk.rpc_s, partial(self._arrive, attempt))

    def _arrive(self, attempt: Attempt) -> None:
        """The offer has reached the worker, or nobody."""
        worker = self._desk.find_worker(attempt.candidate.ref)
        if worker is None:
            error = WorkerLost(f"Worker {attempt.candidate.ref.worker_id} cannot be reached.")
            self._desk.events.after(self._desk.rpc_s, partial(attempt.refused, error))
        else:
            self._enclosures.deliver(attempt, worker, self._desk)

    def _on_verdict(
        self,
        others: Sequence[Candidate],
        decodes: Sequence[WorkerRef] | None,
        result: PenstockError,
        attempt: Attempt,
        error: PenstockError | None,
    ) -> None:
        if error is None:
            self._backoff_s = self._desk.limits.min_backoff_s
            self._pass_turn()
            return
        self._desk.count_rejection(error.code)
        if waits_for_capacity(error):
            result = error
        else:
            self._lost.add(life_of(attempt.candidate.ref))
            self._desk.suspect(attempt.candidate.ref)
        self._offer(others, decodes, result)

    # --- ending -------------------------------------------------------------------------------------------------------

    def _on_end(self, attempt: Attempt, error: PenstockError | None) -> None:
        if error is None:
            self._over(None)
            return
        self._cancel_work(attempt)
        if self._conversation.num_output_tokens:
            self._patience.brought_tokens(self._desk.events.now_s)
        if waits_for_capacity(error):
            self._wait_for_capacity()
        else:
            self._after_loss(attempt, error)

    def _after_loss(self, attempt: Attempt, error: PenstockError) -> None:
        desk = self._desk
        for ref in attempt.blamed:
            self._lost.add(life_of(ref))
            desk.suspect(ref)
        self._num_losses += 1
        desk.num_resumes += 1
        if self._conversation.is_complete:  # only the news of its end was lost
            self._timeline.finish(desk.events.now_s)
            self._over(None)
        elif self._num_losses >= desk.limits.max_losses:
            self._over(error)
        elif self._num_losses > 1:
            backoff_s = desk.limits.min_backoff_s * 2**self._num_losses / 4
            desk.events.after(min(desk.limits.max_backoff_s, backoff_s), self._route)
        else:  # the first time at once: a reader is waiting
            self._route()

    def _cancel_work(self, attempt: Attempt) -> None:
        """Stop it on every worker that may hold some of it."""
        for ref in dict.fromkeys((attempt.candidate.ref, *attempt.decode_refs)):
            worker = self._desk.find_worker(ref)
            if worker is not None:
                self._desk.events.after(self._desk.rpc_s, partial(worker.cancel, attempt.handle))

    def _over(self, error: PenstockError | None) -> None:
        self._pass_turn()
        self._desk.on_over(self._conversation.spec, self._timeline, error)

    def _record(self, stage: Stage) -> None:
        self._timeline.spans.append(Span(stage, self._began_s, self._desk.events.now_s))
