"""The router of a simulated group. Mirrors `scheduler.router`: it keeps what the policies need, and they decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.core.errors import InvalidSettings
from penstock.core.policies.disaggregation import DisaggregationPolicy, is_worth_transfer
from penstock.core.policies.in_flight import RoutedWork, uncovered, with_in_flight
from penstock.core.policies.prefix_index import PrefixIndex
from penstock.core.policies.routing import RoutingPolicy, rank
from penstock.core.types import Candidate, RouteQuery, RoutingDecision, WorkerState
from penstock.simulator.ordering import BASELINES, decide

LIVE = "predicted"  # the live router's policy, `policies.routing`

_MAX_ARRIVAL_S = 5.0  # a prediction beyond this is not worth holding on to


@dataclass(frozen=True, slots=True)
class RouterRules:
    """Every policy the router decides with, and how it hears of workers."""

    order: str = LIVE  # or a baseline: round_robin, least_load, prefix_affinity
    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    disaggregation: DisaggregationPolicy = field(default_factory=DisaggregationPolicy)
    heartbeat_interval_s: float = 0.5
    lease_s: float = 3.0
    grace_s: float = 0.05  # what a route takes to the worker, and the next heartbeat back

    def __post_init__(self) -> None:
        if self.order not in (LIVE, *BASELINES):
            raise InvalidSettings("router.order", self.order, f"must be one of {LIVE}, {', '.join(BASELINES)}")


class SimulatedRouter:
    """Knows the workers by their last heartbeats, plus what it has routed to them since."""

    def __init__(self, rules: RouterRules) -> None:
        self.num_routes = 0
        self.num_disaggregated = 0
        self._rules = rules
        self._prefixes = PrefixIndex()
        self._members: dict[str, WorkerState] = {}
        self._routed: dict[str, list[RoutedWork]] = {}
        self._states: dict[str, WorkerState] = {}  # last heartbeat plus work in flight

    @property
    def workers(self) -> list[WorkerState]:
        return list(self._members.values())

    def admit(self, state: WorkerState) -> None:
        """Take in a worker that has started, replacing any earlier life of it."""
        worker_id = state.ref.worker_id
        self._members[worker_id] = self._states[worker_id] = state
        self._routed[worker_id] = []
        self._prefixes.add_worker(worker_id, state.block_size)

    def heartbeat(self, state: WorkerState, stored: Sequence[bytes], evicted: Sequence[bytes]) -> None:
        """Take in a worker's load, and which hashes entered and left its prefix cache."""
        worker_id = state.ref.worker_id
        if worker_id not in self._members:  # its lease had run out
            self.admit(state)
        self._members[worker_id] = state
        self._routed[worker_id] = uncovered(self._routed[worker_id], state.heartbeat_s, self._rules.grace_s)
        self._states[worker_id] = with_in_flight(state, self._routed[worker_id])
        self._prefixes.evict(worker_id, evicted)
        self._prefixes.store(worker_id, stored)

    def tick(self, now_s: float) -> bool:
        """Let leases end and expectations age; whether somebody left."""
        self._prefixes.age(now_s)
        gone = [name for name, state in self._members.items() if now_s - state.heartbeat_s > self._rules.lease_s]
        for name in gone:
            del self._members[name], self._states[name], self._routed[name]
            self._prefixes.remove_worker(name)
        return bool(gone)

    def answer(self, query: RouteQuery, now_s: float) -> RoutingDecision | None:
        """Decide, and count the decision as work in flight; None when no worker can take the request."""
        self.num_routes += 1
        num_cached_tokens = self._prefixes.match(query.block_hashes)
        if self._rules.order == LIVE:
            decision = rank(query, self._states.values(), num_cached_tokens, now_s, self._rules.routing)
        else:
            states = list(self._states.values())
            decision = decide(self._rules.order, query, states, num_cached_tokens, self.num_routes)
        if not decision.prefill:
            return None
        role = self._states[decision.prefill[0].ref.worker_id].role
        disaggregate = is_worth_transfer(query, decision, role, self._rules.disaggregation)
        decision = replace(decision, disaggregate=disaggregate)
        self.num_disaggregated += disaggregate
        self._account(query, decision, now_s)
        return decision

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
