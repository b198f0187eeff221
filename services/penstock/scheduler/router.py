"""One group's router, without Ray and gRPC: heartbeats and queries in, answers and membership out.

Takes part in "route". `core.route_book` knows and decides; here are the clock, the log and the words of the wire.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from penstock.core.demand import Demand, DemandMeter
from penstock.core.membership import Heard
from penstock.core.pools import Flip, RolesView
from penstock.core.route_book import RouteBook, RouteRules
from penstock.core.types import GatewayLoad, Role, RouteQuery, WorkerState
from penstock.runtime import clock
from penstock.wire.messages import HeartbeatRequest, MembershipView, RouteAnswer

log = logging.getLogger(__name__)


class Router:
    """`version` grows with every change of membership that gateways must hear of at once."""

    def __init__(self, group: str, rules: RouteRules | None = None, now_s: Callable[[], float] = clock.now_s) -> None:
        self.version = 0
        self.group = group
        self._now_s = now_s
        self._book = RouteBook(rules or RouteRules())
        self.num_arrived = 0  # requests at all gateways since each was first heard, refused ones too
        self._meter = DemandMeter()
        self._gateway_loads: dict[str, GatewayLoad] = {}
        self._wished: Flip | None = None

    @property
    def workers(self) -> list[WorkerState]:
        """The members as they last described themselves."""
        return self._book.workers

    @property
    def language_workers(self) -> list[WorkerState]:
        """Those that can be flipped into each other. An encoder holds other weights and measures other costs."""
        return [worker for worker in self._book.workers if worker.role is not Role.ENCODER]

    @property
    def num_prefix_hashes(self) -> int:
        return self._book.num_prefix_hashes

    def view(self, roles: RolesView) -> MembershipView:
        return MembershipView(self.group, self._book.workers, roles=roles)

    def hear_gateway(self, gateway_id: str, load: GatewayLoad) -> None:
        """Take in what only a gateway knows of the load."""
        before = self._gateway_loads.get(gateway_id)
        self._meter.told(before or GatewayLoad(), load)
        if before is not None:  # the first report counts the gateway's whole life, which may be longer than ours
            self.num_arrived += max(0, load.num_arrived - before.num_arrived)
        self._gateway_loads[gateway_id] = load

    def gateway_left(self, gateway_id: str) -> None:
        """Nobody waits there any more. Its counts are kept: they go on where they were when it comes back."""
        if (load := self._gateway_loads.get(gateway_id)) is not None:
            self._gateway_loads[gateway_id] = replace(load, num_waiting=0)

    def demand(self) -> Demand:
        """What recent requests were like, and how many wait at gateways."""
        return self._meter.demand(sum(load.num_waiting for load in self._gateway_loads.values()))

    def take_wish(self) -> Flip | None:
        """The flip that the routing order asked for since this was last asked, if any."""
        wished, self._wished = self._wished, None
        return wished

    def admit(self, state: WorkerState) -> None:
        """Take in a worker that registered, replacing any earlier life of it."""
        self._book.admit(state, self._now_s())
        self.version += 1
        log.info("%s joined as %s at %s", state.ref.worker_id, state.role.value, state.ref.address)

    def heartbeat(self, request: HeartbeatRequest) -> bool:
        """Take in a worker's load; False when it must register first."""
        state = request.state
        if state.group != self.group:  # it has moved, and has to register there
            self.gone(state.ref.worker_id)
            return False
        heard = self._book.heartbeat(state, self._now_s())
        if heard is Heard.UNKNOWN:
            return False
        if heard is Heard.CHANGED:
            self.version += 1
            log.info("%s is now %s%s", state.ref.worker_id, state.role.value, ", draining" if state.is_draining else "")
        self._book.caches(state.ref.worker_id, request.stored_hashes, request.evicted_hashes, is_all=request.is_full)
        return True

    def tick(self) -> None:
        """Let leases end and expectations age; called a few times a second."""
        for ref in self._book.tick(self._now_s()):
            self.version += 1
            log.warning("%s sent no heartbeat for a whole lease and is out", ref.worker_id)

    def gone(self, worker_id: str) -> None:
        """Somebody knows better than its lease that a worker is gone."""
        if self._book.remove(worker_id):
            self.version += 1
            log.warning("%s is gone", worker_id)

    def answer(self, query: RouteQuery) -> RouteAnswer:
        """Decide, and count the decision as work in flight."""
        ranking = self._book.answer(query, self._now_s())
        if ranking is None:
            return RouteAnswer(query.request_id, error=self._book.no_workers(query, self.group))
        self._wished = ranking.flip or self._wished
        return RouteAnswer(query.request_id, ranking.decision)
