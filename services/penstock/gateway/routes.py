"""Where a request should go: as its router says, or by the last membership while no router answers.

Life of a request: step 2.
"""

import asyncio
from collections.abc import Callable

from penstock.core.errors import NoWorkers
from penstock.core.policies.forwarding import InFlight, WorkerLife, rank_last_membership
from penstock.core.types import RouteQuery, RoutingDecision
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.router_client import RouterClient


class Routes:
    """Finds routes and tells when it is worth asking again."""

    def __init__(
        self,
        router: RouterClient,
        in_flight: Callable[[], dict[WorkerLife, InFlight]],
        metrics: GatewayMetrics,
        now_s: Callable[[], float],
    ) -> None:
        self.router = router
        self._in_flight = in_flight
        self._metrics = metrics
        self._now_s = now_s
        self._news = asyncio.Event()

    async def find(self, query: RouteQuery) -> RoutingDecision:
        """Ranked candidates, at least one to prefill. Raises NoWorkers."""
        began_s = self._now_s()
        try:
            decision = await self.router.ask(query)
        except NoWorkers:  # a router that has just started may know fewer workers than we do
            decision = None
        self._metrics.route_s.observe(self._now_s() - began_s)
        if decision is None:
            self._metrics.routes_without_router.value += 1
            decision = self._rank(query)
        if not decision.prefill or (decision.disaggregate and not decision.decode):
            raise NoWorkers("No worker can take this request at the moment.")
        return decision

    async def changed(self, timeout_s: float) -> None:
        """Wait for news of the membership, or until `timeout_s` has passed."""
        news = self._news
        try:
            async with asyncio.timeout(timeout_s):
                await news.wait()
        except TimeoutError:
            return

    def tell(self) -> None:
        """There is news: whoever waits for it looks again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _rank(self, query: RouteQuery) -> RoutingDecision:
        workers = [w for w in self.router.workers if w.ref.worker_id not in query.excluded_worker_ids]
        return rank_last_membership(workers, self._in_flight(), query.num_tokens)
