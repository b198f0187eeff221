"""The router of a simulated group: `core.route_book`, which the live router is too, and the flip it last wished for."""

from collections.abc import Sequence

from penstock.core.membership import Heard
from penstock.core.pools import Flip
from penstock.core.route_book import RouteBook, RouteRules
from penstock.core.routing_orders import Ranking
from penstock.core.types import RouteQuery, WorkerState


class SimulatedRouter:
    """Mirrors `scheduler.router`."""

    def __init__(self, rules: RouteRules) -> None:
        self.book = RouteBook(rules)
        self.num_disaggregated = 0
        self._wished: Flip | None = None

    @property
    def num_routes(self) -> int:
        return self.book.num_routes

    @property
    def workers(self) -> list[WorkerState]:
        return self.book.workers

    def admit(self, state: WorkerState) -> None:
        """Take in a worker that has started, replacing any earlier life of it."""
        self.book.admit(state, state.heartbeat_s)

    def heartbeat(self, state: WorkerState, stored: Sequence[bytes], evicted: Sequence[bytes]) -> None:
        """Take in a worker's load, and which hashes entered and left its prefix cache."""
        if self.book.heartbeat(state, state.heartbeat_s) is Heard.UNKNOWN:  # its lease had run out
            self.admit(state)
        self.book.caches(state.ref.worker_id, stored, evicted, is_all=False)

    def tick(self, now_s: float) -> bool:
        """Let leases end and expectations age; whether somebody left."""
        return bool(self.book.tick(now_s))

    def take_wish(self) -> Flip | None:
        """The flip the routing order asked for since this was last asked, if any."""
        wished, self._wished = self._wished, None
        return wished

    def answer(self, query: RouteQuery, now_s: float) -> Ranking | None:
        """Decide, and count the decision as work in flight; None when no worker can take the request."""
        ranking = self.book.answer(query, now_s)
        if ranking is None:
            return None
        self._wished = ranking.flip or self._wished
        self.num_disaggregated += ranking.decision.disaggregate
        return ranking
