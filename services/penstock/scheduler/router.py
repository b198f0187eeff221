"""One group's router, without Ray and gRPC: heartbeats and queries in, answers and membership out.

Takes part in "route". It keeps what `core.policies` need (states, work in flight, prefixes) and lets them decide.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from penstock.core.errors import NoWorkers
from penstock.core.policies.disaggregation import DisaggregationPolicy, is_worth_transfer
from penstock.core.policies.in_flight import RoutedWork, uncovered, with_in_flight
from penstock.core.policies.prefix_index import PrefixIndex
from penstock.core.policies.routing import RoutingPolicy, rank
from penstock.core.types import Candidate, RouteQuery, RoutingDecision, WorkerState
from penstock.runtime import clock
from penstock.scheduler.membership import Heard, Membership
from penstock.wire.messages import HeartbeatRequest, MembershipView, RouteAnswer

log = logging.getLogger(__name__)

# From the router's answer over the gateway to the worker, and the next heartbeat back.
_GRACE_S = 0.05
# A decode worker learns of a request when its prefill starts; a prediction beyond this is not worth holding on to.
_MAX_ARRIVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class RouterPolicies:
    """Every policy a router decides with."""

    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    disaggregation: DisaggregationPolicy = field(default_factory=DisaggregationPolicy)


class Router:
    """`version` grows with every change of membership that gateways must hear of at once."""

    def __init__(
        self,
        group: str,
        lease_s: float,
        policies: RouterPolicies | None = None,
        now_s: Callable[[], float] = clock.now_s,
    ) -> None:
        self.version = 0
        self.group = group
        self._policies = policies or RouterPolicies()
        self._now_s = now_s
        self._members = Membership(lease_s)
        self._prefixes = PrefixIndex()
        self._routed: dict[str, list[RoutedWork]] = {}
        self._states: dict[str, WorkerState] = {}  # last heartbeat plus work in flight: what routes are ranked by

    @property
    def workers(self) -> list[WorkerState]:
        """The members as they last described themselves."""
        return self._members.workers

    @property
    def num_prefix_hashes(self) -> int:
        return len(self._prefixes)

    def view(self) -> MembershipView:
        return MembershipView(self.group, self._members.workers)

    def admit(self, state: WorkerState) -> None:
        """Take in a worker that registered, replacing any earlier life of it."""
        worker_id = state.ref.worker_id
        self._states[worker_id] = self._members.register(state, self._now_s())
        self._routed[worker_id] = []
        self._prefixes.add_worker(worker_id, state.block_size)
        self.version += 1
        log.info("%s joined as %s at %s", worker_id, state.role.value, state.ref.address)

    def heartbeat(self, request: HeartbeatRequest) -> bool:
        """Take in a worker's load; False when it must register first."""
        state, now_s = request.state, self._now_s()
        worker_id = state.ref.worker_id
        heard = self._members.heartbeat(state, now_s)
        if heard is Heard.UNKNOWN:
            return False
        if heard is Heard.CHANGED:
            self.version += 1
            log.info("%s is now %s%s", worker_id, state.role.value, ", draining" if state.is_draining else "")
        self._routed[worker_id] = uncovered(self._routed[worker_id], now_s, _GRACE_S)
        self._states[worker_id] = with_in_flight(self._members.get(worker_id), self._routed[worker_id])
        if request.is_full:
            self._prefixes.add_worker(worker_id, state.block_size)
        self._prefixes.evict(worker_id, request.evicted_hashes)
        self._prefixes.store(worker_id, request.stored_hashes)
        return True

    def tick(self) -> None:
        """Let leases end and expectations age; called a few times a second."""
        now_s = self._now_s()
        self._prefixes.age(now_s)
        for ref in self._members.expire(now_s):
            del self._states[ref.worker_id]
            del self._routed[ref.worker_id]
            self._prefixes.remove_worker(ref.worker_id)
            self.version += 1
            log.warning("%s sent no heartbeat for a whole lease and is out", ref.worker_id)

    def answer(self, query: RouteQuery) -> RouteAnswer:
        """Decide, and count the decision as work in flight."""
        now_s = self._now_s()
        num_cached_tokens = self._prefixes.match(query.block_hashes)
        decision = rank(query, self._states.values(), num_cached_tokens, now_s, self._policies.routing)
        if not decision.prefill:
            return RouteAnswer(query.request_id, error=self._no_workers(query))
        role = self._states[decision.prefill[0].ref.worker_id].role
        disaggregate = is_worth_transfer(query, decision, role, self._policies.disaggregation)
        decision = replace(decision, disaggregate=disaggregate)
        self._account(query, decision, now_s)
        return RouteAnswer(query.request_id, decision)

    def _account(self, query: RouteQuery, decision: RoutingDecision, now_s: float) -> None:
        prefill = decision.prefill[0]
        num_uncached = max(1, query.num_tokens - prefill.num_cached_tokens)
        num_context = 0 if decision.disaggregate else query.num_tokens
        self._expect_work(prefill, query, RoutedWork(now_s, num_uncached, num_context))
        if decision.disaggregate:
            arrives_s = now_s + min(prefill.predicted_s, _MAX_ARRIVAL_S)
            self._expect_work(decision.decode[0], query, RoutedWork(arrives_s, 0, query.num_tokens))

    def _expect_work(self, candidate: Candidate, query: RouteQuery, work: RoutedWork) -> None:
        worker_id = candidate.ref.worker_id
        state = self._states[worker_id]
        work = replace(work, num_blocks=-(-query.num_tokens // state.block_size))
        self._routed[worker_id].append(work)
        self._states[worker_id] = with_in_flight(state, [work])
        self._prefixes.expect(worker_id, query.block_hashes)

    def _no_workers(self, query: RouteQuery) -> NoWorkers:
        workers = self._members.workers
        num_draining = sum(worker.is_draining for worker in workers)
        num_lost = sum(worker.ref.worker_id in query.excluded_worker_ids for worker in workers)
        return NoWorkers(
            f"No worker of group '{self.group}' can take a request of {query.num_tokens} tokens: {len(workers)} known, "
            f"{num_draining} draining, {num_lost} lost by this request before."
        )
