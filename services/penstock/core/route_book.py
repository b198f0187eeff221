"""What a router knows and how it answers: workers by their heartbeats, plus what was routed to them since, plus
which prefixes they hold. Takes part in "route"; the live router and the simulated one are this.

    heartbeat, register --> members --+                                  +--> answer
    routed since then ----> in flight +--> states --> order --> disagg. -+--> counted as work in flight
    stored, evicted ------> prefixes -+

It reads no clock: every call is told the time, and whoever calls logs, counts and sends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock.core.encode_cost import EncodeCost
from penstock.core.errors import InvalidSettings, NoWorkers
from penstock.core.membership import Heard, Membership
from penstock.core.policies.disaggregation import DisaggregationPolicy, is_worth_transfer
from penstock.core.policies.encoder_sharding import shard
from penstock.core.policies.in_flight import RoutedWork, uncovered, with_in_flight
from penstock.core.policies.prefix_index import PrefixIndex
from penstock.core.prefixes import Prefixes
from penstock.core.routing_orders import ORDERS, PREDICTED, Asked, OrderPolicies, Ranking, rank
from penstock.core.types import Candidate, Role, RouteQuery, RoutingDecision, WorkerRef, WorkerState

# A decode worker learns of a request when its prefill starts; a prediction beyond this is not worth holding on to.
_MAX_ARRIVAL_S = 5.0
_UNMEASURED_S_PER_PATCH = 2e-5  # of an encoder that has encoded nothing yet; any plausible number spreads images


@dataclass(frozen=True, slots=True)
class RouteRules:
    """Every policy a router decides with. `grace_s` is what a route takes to the worker, and the next heartbeat back.

    Without `counts_in_flight` only heartbeats count, as in routers that trust their last reports.
    """

    order: str = PREDICTED  # `core.routing_orders` lists them
    orders: OrderPolicies = field(default_factory=OrderPolicies)
    disaggregation: DisaggregationPolicy = field(default_factory=DisaggregationPolicy)
    lease_s: float = 3.0
    grace_s: float = 0.05
    counts_in_flight: bool = True
    knows_prefixes: bool = True  # otherwise every prompt looks new
    max_image_shards: int = 0  # encoders that the images of one request are spread over; 0: as many as help

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InvalidSettings("router.order", self.order, f"must be one of {', '.join(ORDERS)}")


class RouteBook:
    """The state of one group's router."""

    def __init__(self, rules: RouteRules) -> None:
        self.num_routes = 0
        self._rules = rules
        self._members = Membership(rules.lease_s)
        self._prefixes = PrefixIndex()
        self._routed: dict[str, list[RoutedWork]] = {}
        self._states: dict[str, WorkerState] = {}  # last heartbeat plus work in flight: what routes are ranked by

    @property
    def workers(self) -> list[WorkerState]:
        """The members as they last described themselves."""
        return self._members.workers

    @property
    def states(self) -> list[WorkerState]:
        """The members with what has been routed to them since."""
        return list(self._states.values())

    @property
    def num_prefix_hashes(self) -> int:
        return len(self._prefixes)

    def admit(self, state: WorkerState, now_s: float) -> None:
        """Take in a worker that registered, replacing any earlier life of it."""
        worker_id = state.ref.worker_id
        self._states[worker_id] = self._members.register(state, now_s)
        self._routed[worker_id] = []
        self._prefixes.add_worker(worker_id, state.block_size)

    def heartbeat(self, state: WorkerState, now_s: float) -> Heard:
        """Take in a worker's load."""
        heard = self._members.heartbeat(state, now_s)
        if heard is not Heard.UNKNOWN:
            worker_id = state.ref.worker_id
            self._routed[worker_id] = uncovered(self._routed[worker_id], now_s, self._rules.grace_s)
            self._states[worker_id] = with_in_flight(self._members.get(worker_id), self._routed[worker_id])
        return heard

    def caches(self, worker_id: str, stored: Iterable[bytes], evicted: Iterable[bytes], *, is_all: bool) -> None:
        """Take in which hashes entered and left the prefix cache of a member; `is_all`: it holds nothing else."""
        if is_all:
            self._prefixes.add_worker(worker_id, self._members.get(worker_id).block_size)
        self._prefixes.evict(worker_id, evicted)
        self._prefixes.store(worker_id, stored)

    def tick(self, now_s: float) -> list[WorkerRef]:
        """Let leases end and expectations age; returns who is out. To be called a few times a second."""
        self._prefixes.age(now_s)
        gone = self._members.expire(now_s)
        for ref in gone:
            self._forget(ref.worker_id)
        return gone

    def remove(self, worker_id: str) -> bool:
        """Somebody knows that a worker is gone; whether it was a member."""
        was_member = self._members.remove(worker_id)
        if was_member:
            self._forget(worker_id)
        return was_member

    def _forget(self, worker_id: str) -> None:
        del self._states[worker_id], self._routed[worker_id]
        self._prefixes.remove_worker(worker_id)

    def answer(self, query: RouteQuery, now_s: float) -> Ranking | None:
        """Decide, and count the decision as work in flight; None when no worker can take the request."""
        self.num_routes += 1
        rules = self._rules
        asked = Asked(query, self._prefixes_of(query), self.num_routes, rules.orders)
        ranking = rank(rules.order, asked, self._states.values(), now_s)
        decision = ranking.decision
        if not decision.prefill:
            return None
        role = self._states[decision.prefill[0].ref.worker_id].role
        disaggregate = is_worth_transfer(query, decision, role, rules.disaggregation)
        encoders = self._encoders_of(query.image_patches, now_s)
        decision = replace(decision, disaggregate=disaggregate, encoders=encoders)
        if rules.counts_in_flight:
            self._account(query, decision, now_s)
        return replace(ranking, decision=decision)

    def _prefixes_of(self, query: RouteQuery) -> Prefixes:
        if not self._rules.knows_prefixes:
            return Prefixes()
        cached = self._prefixes.match(query.block_hashes)
        if not cached or not self._rules.orders.fetches(self._rules.order):
            return Prefixes(cached)
        held = self._prefixes.match(query.block_hashes, is_confirmed=True)  # what is only expected cannot be fetched
        sources = sorted(held.keys() - query.excluded_worker_ids)  # nor from whom this request has lost already
        source = max(sources, key=lambda name: held[name], default="")
        return Prefixes(cached, held[source], self._members.get(source).ref) if source else Prefixes(cached)

    def _encoders_of(self, num_patches: Sequence[int], now_s: float) -> tuple[Candidate, ...]:
        """One for each image."""
        if not num_patches:
            return ()
        shards = self.shard_images(num_patches, now_s)
        by_image = {index: Candidate(ref) for ref, indices in shards.items() for index in indices}
        return tuple(by_image[index] for index in sorted(by_image))

    def shard_images(self, num_patches: Sequence[int], now_s: float) -> Mapping[WorkerRef, tuple[int, ...]]:
        """Which encoder encodes which images of one request, counted as work in flight; nothing without encoders."""
        encoders = [state for state in self._states.values() if state.role is Role.ENCODER and not state.is_draining]
        if not encoders:
            return {}
        s_per_patch = encoders[0].prefill_s_per_token or _UNMEASURED_S_PER_PATCH
        cost = EncodeCost(encoders[0].prefill_base_s, s_per_patch)
        queued_s = {
            state.ref.worker_id: state.num_prefill_tokens * (state.prefill_s_per_token or s_per_patch)
            for state in encoders
        }
        sharding = shard(num_patches, queued_s, cost, self._rules.max_image_shards or None)
        for worker_id, indices in sharding.shards.items():
            work = RoutedWork(now_s, sum(num_patches[index] for index in indices))
            self._routed[worker_id].append(work)
            self._states[worker_id] = with_in_flight(self._states[worker_id], [work])
        return {self._states[worker_id].ref: indices for worker_id, indices in sharding.shards.items()}

    def no_workers(self, query: RouteQuery, group: str) -> NoWorkers:
        """Why there was no answer."""
        workers = self._members.workers
        num_draining = sum(worker.is_draining for worker in workers)
        num_lost = sum(worker.ref.worker_id in query.excluded_worker_ids for worker in workers)
        return NoWorkers(
            f"No worker of group '{group}' can take a request of {query.num_tokens} tokens: {len(workers)} known, "
            f"{num_draining} draining, {num_lost} lost by this request before."
        )

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
