"""Metrics of the control plane: one set per router process, one for the global scheduler."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.core.types import Role
from penstock.scheduler.router import Router
from penstock.wire.messages import RouteAnswer

_ROUTE_BUCKETS_S = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1)


class RouterMetrics:
    """What one group's router counts."""

    def __init__(self, registry: CollectorRegistry, group: str) -> None:
        self._group = group
        self._route_s = Histogram(
            "penstock_route_seconds",
            "Time to decide one route",
            ["group"],
            buckets=_ROUTE_BUCKETS_S,
            registry=registry,
        ).labels(group)
        self._routes = Counter(
            "penstock_routes",
            "Routes by outcome: disaggregated, in_place, or the code of the error",
            ["group", "outcome"],
            registry=registry,
        )
        self._workers = Gauge("penstock_workers", "Live workers", ["group", "role"], registry=registry)
        self._draining = Gauge(
            "penstock_draining_workers", "Workers that take nothing new", ["group"], registry=registry
        )
        self._heartbeat_age_s = Gauge(
            "penstock_heartbeat_age_seconds",
            "Age of a worker's last heartbeat",
            ["group", "worker"],
            registry=registry,
        )
        self._prefix_hashes = Gauge(
            "penstock_prefix_index_hashes", "Block hashes the router knows holders of", ["group"], registry=registry
        )

    def routed(self, answer: RouteAnswer, duration_s: float) -> None:
        self._route_s.observe(duration_s)
        if answer.decision is None:
            outcome = answer.error.code if answer.error else "unknown"
        else:
            outcome = "disaggregated" if answer.decision.disaggregate else "in_place"
        self._routes.labels(self._group, outcome).inc()

    def observe(self, router: Router, now_s: float) -> None:
        """Set the gauges from the router's state."""
        workers = router.workers
        for role in Role:
            self._workers.labels(self._group, role.value).set(sum(worker.role is role for worker in workers))
        self._draining.labels(self._group).set(sum(worker.is_draining for worker in workers))
        self._prefix_hashes.labels(self._group).set(router.num_prefix_hashes)
        self._heartbeat_age_s.clear()  # those who left must not stay
        for worker in workers:
            self._heartbeat_age_s.labels(self._group, worker.ref.worker_id).set(now_s - worker.heartbeat_s)


class DirectoryMetrics:
    """What the global scheduler counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registrations = Counter(
            "penstock_registrations", "Workers that registered", ["group", "outcome"], registry=registry
        )
        self._routers = Gauge("penstock_routers", "Group routers by whether they answer", ["state"], registry=registry)

    def registered(self, group: str, outcome: str) -> None:
        self._registrations.labels(group, outcome).inc()

    def observe_routers(self, num_answering: int, num_silent: int) -> None:
        self._routers.labels("answering").set(num_answering)
        self._routers.labels("silent").set(num_silent)
