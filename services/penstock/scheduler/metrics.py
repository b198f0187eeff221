"""Metrics of the control plane: one set per router process, one for the global scheduler."""

from prometheus_client import CollectorRegistry

from penstock.core.pools import RoleChange
from penstock.core.types import Role, WorkerState
from penstock.runtime.metrics import Metrics, counter, gauge, histogram
from penstock.scheduler.control_service import ORDERED
from penstock.scheduler.router import Router
from penstock.wire.messages import RouteAnswer

DECISION_BUCKETS_S = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1)

_GROUP = ("group",)
_POOL = ("group", "role")
ROLE_CHANGE_OUTCOMES = ("done", "observed")  # anything else says why it failed


class RouterMetrics:
    """What one group's router counts, and what its members' heartbeats add up to by role."""

    def __init__(self, registry: CollectorRegistry, group: str) -> None:
        add = Metrics(registry)
        self._add_routes(add, group)
        self._add_pools(add, group)
        self._add_changes(add, group)
        self.specs = add.specs
        self._last: dict[str, WorkerState] = {}  # by worker id

    def routed(self, answer: RouteAnswer, duration_s: float) -> None:
        self._decision_s.observe(duration_s)
        if answer.decision is None:
            outcome = answer.error.code if answer.error else "unknown"
        else:
            outcome = "disaggregated" if answer.decision.disaggregate else "in_place"
        self._routes.add(outcome)

    def observe(self, router: Router, now_s: float) -> None:
        """Set the gauges from the router's state, and count what has changed since the last time."""
        workers = router.workers
        self._prefix_hashes.value = router.num_prefix_hashes
        self._draining.value = sum(worker.is_draining for worker in workers)
        for role in Role:
            self._observe_pool(role.value, [worker for worker in workers if worker.role is role])
        self._heartbeat_age_s.replace({(worker.ref.worker_id,): now_s - worker.heartbeat_s for worker in workers})
        self._count_changes({worker.ref.worker_id: worker for worker in workers})

    def role_changed(self, change: RoleChange) -> None:
        """An order of an operator, or a decision of role control, and what came of it."""
        outcome = change.outcome if change.outcome in ROLE_CHANGE_OUTCOMES else "failed"
        self._role_changes.add("operator" if change.reason == ORDERED else "controller", outcome)

    def _observe_pool(self, role: str, pool: list[WorkerState]) -> None:
        self._workers.set(role, to=len(pool))
        self._sequences.set(role, "waiting", to=sum(worker.num_waiting for worker in pool))
        self._sequences.set(role, "running", to=sum(worker.num_running for worker in pool))
        self._slots.set(role, to=sum(worker.max_num_sequences for worker in pool))
        self._blocks.set(role, "free", to=sum(worker.num_free_blocks for worker in pool))
        self._blocks.set(role, "used", to=sum(worker.num_blocks - worker.num_free_blocks for worker in pool))
        self._prefill_tokens.set(role, to=sum(worker.num_prefill_tokens for worker in pool))

    def _count_changes(self, present: dict[str, WorkerState]) -> None:
        for worker_id, before in self._last.items():
            after = present.get(worker_id)
            if after is None or after.ref.incarnation != before.ref.incarnation:
                self._departures.add(before.role.value, "drained" if before.is_draining else "lost")
                continue
            if after.role is not before.role:
                self._flips.add(before.role.value, after.role.value)
            if after.is_draining and not before.is_draining:
                self._drains.add(after.role.value)
        self._last = present

    def _add_routes(self, add: Metrics, group: str) -> None:
        decision = histogram(
            "penstock_route_decision_seconds", "seconds", "Time to decide one route.", _GROUP, bounds=DECISION_BUCKETS_S
        )
        routes = counter(
            "penstock_routes_total",
            "routes",
            "By outcome: disaggregated, in_place, or the code of the error.",
            (*_GROUP, "outcome"),
        )
        hashes = gauge("penstock_prefix_index_hashes", "blocks", "Block hashes it knows holders of.", _GROUP)
        self._decision_s = add.histogram(decision, group)
        self._routes = add.numbers(routes, group)
        self._prefix_hashes = add.number(hashes, group)

    def _add_pools(self, add: Metrics, group: str) -> None:
        age = gauge("penstock_heartbeat_age_seconds", "seconds", "Since a worker's last one.", (*_GROUP, "worker"))
        self._heartbeat_age_s = add.numbers(age, group)
        self._workers = add.numbers(gauge("penstock_workers", "workers", "Live workers.", _POOL), group)
        self._draining = add.number(
            gauge("penstock_draining_workers", "workers", "Workers that take nothing new.", _GROUP), group
        )
        self._sequences = add.numbers(
            gauge("penstock_pool_sequences", "sequences", "By state: waiting, running.", (*_POOL, "state")), group
        )
        self._slots = add.numbers(
            gauge("penstock_pool_max_sequences", "sequences", "Those that may run at once.", _POOL), group
        )
        self._blocks = add.numbers(
            gauge("penstock_pool_blocks", "blocks", "KV blocks by state: free (cached too), used.", (*_POOL, "state")),
            group,
        )
        self._prefill_tokens = add.numbers(
            gauge("penstock_pool_prefill_tokens", "tokens", "Prompt tokens accepted and not yet computed.", _POOL),
            group,
        )

    def _add_changes(self, add: Metrics, group: str) -> None:
        flips = counter(
            "penstock_flips_total", "flips", "Workers that changed their role.", (*_GROUP, "from_role", "to_role")
        )
        departures = counter(
            "penstock_worker_departures_total",
            "workers",
            "Workers that left, by how: drained, lost (its lease ended, or another life of it came).",
            (*_POOL, "how"),
        )
        role_changes = counter(
            "penstock_role_changes_total",
            "changes",
            "Of pools and roles, by who asked (operator, controller) and outcome: done, observed (only), failed.",
            (*_GROUP, "by", "outcome"),
        )
        self._role_changes = add.numbers(role_changes, group)
        self._flips = add.numbers(flips, group)
        self._departures = add.numbers(departures, group)
        self._drains = add.numbers(counter("penstock_drains_total", "drains", "Drains begun.", _POOL), group)
        for role in Role:  # there from the start: `rate` sees the first one
            self._drains.of(role.value)
            for how in ("drained", "lost"):
                self._departures.of(role.value, how)
            for to_role in Role:
                if to_role is not role:
                    self._flips.of(role.value, to_role.value)


class DirectoryMetrics:
    """What the global scheduler counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        add = Metrics(registry)
        registrations = counter(
            "penstock_registrations_total", "workers", "Workers that registered.", (*_GROUP, "outcome")
        )
        self._registrations = add.numbers(registrations)
        self._routers = add.numbers(
            gauge("penstock_routers", "routers", "By whether they answer: answering, silent.", ("state",))
        )
        self.specs = add.specs

    def registered(self, group: str, outcome: str) -> None:
        self._registrations.add(group, outcome)

    def observe_routers(self, num_answering: int, num_silent: int) -> None:
        self._routers.set("answering", to=num_answering)
        self._routers.set("silent", to=num_silent)
