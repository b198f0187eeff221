"""The gateway's link to the control plane: joins, asks its group's router, hears of membership; outlives both.

Life of a request: step 2. Nothing here raises because the control plane is away: then nobody answers.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from penstock.core.errors import NoWorkers, PenstockError
from penstock.core.policies.forwarding import merge_membership
from penstock.core.pools import RolesView
from penstock.core.types import GatewayLoad, RouteQuery, RoutingDecision, WorkerState
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.network import Network
from penstock.gateway.stream import Stream
from penstock.wire.messages import Hello, JoinRequest, MembershipView, RouteAnswer, RouteCalls, RouteEvents

JOIN_TIMEOUT_S = 2.0
NEW_ROUTER_S = 3.0  # how long a router that has just been reached may not know every worker yet

logger = logging.getLogger(__name__)


class RouterClient:
    """One stream, made anew for ever. `on_membership` is called whenever membership was heard."""

    def __init__(
        self, me: Hello, group: str, network: Network, limits: DispatchLimits, now_s: Callable[[], float]
    ) -> None:
        self.has_heard = False  # of any membership, ever
        self.on_membership: Callable[[], None] = lambda: None
        self._me = me
        self._group = group
        self._network = network
        self._limits = limits
        self._now_s = now_s
        self._address: str | None = None
        self._metrics_addresses: Sequence[str] = ()
        self._is_waiting = False  # for a scheduler that does not answer
        self._stream: Stream[RouteQuery | GatewayLoad, RouteCalls, RouteEvents] | None = None
        self._reached_s = 0.0  # when the router of the present stream was first heard; 0: it was not
        self._known: Sequence[WorkerState] = ()  # the membership when the last stream ended
        self._heard: Sequence[WorkerState] = ()  # what the router of the present stream says
        self._roles = RolesView()
        self._answers: dict[str, asyncio.Future[RouteAnswer | None]] = {}

    async def run(self) -> None:
        """Join, then talk to the router until it is gone; again, with a pause that grows while nothing is heard."""
        backoff_s = self._limits.min_backoff_s
        while True:
            await self._join()
            if self._address is not None and await self._converse(self._address):
                backoff_s = self._limits.min_backoff_s
            await _pause(backoff_s)
            backoff_s = min(2 * backoff_s, self._limits.max_backoff_s)

    async def ask(self, query: RouteQuery) -> RoutingDecision | None:
        """The router's decision; None when it does not answer in time. Raises what it answers instead of one."""
        if self._stream is None or self._reached_s == 0.0:
            return None
        answer: asyncio.Future[RouteAnswer | None] = asyncio.get_running_loop().create_future()
        self._answers[query.request_id] = answer
        self._stream.send(query)
        try:
            async with asyncio.timeout(self._limits.route_timeout_s):
                heard = await answer
        except TimeoutError:
            return None
        finally:
            self._answers.pop(query.request_id, None)
        if heard is None or (heard.decision is None and heard.error is None):
            return None
        if heard.decision is None:
            raise heard.error or NoWorkers("The router named no workers.")
        return heard.decision

    def report(self, load: GatewayLoad) -> None:
        """Tell the router how this gateway is; without one, nobody needs to know."""
        if self._stream is not None and self._reached_s:
            self._stream.send(load)

    @property
    def workers(self) -> Sequence[WorkerState]:
        """The last membership heard of: as it was while no router is there, completed while a router is new."""
        if self._reached_s and self._now_s() - self._reached_s >= NEW_ROUTER_S:
            return self._heard
        return merge_membership(self._known, self._heard)

    def view(self) -> MembershipView:
        return MembershipView(
            self._group, tuple(self.workers), self._address or "", self._roles, self._metrics_addresses
        )

    async def _join(self) -> None:
        """Find the router. While the scheduler is away the last address stays good: routers may outlive it."""
        try:
            response = await self._network.join(JoinRequest(self._me.caller_id), JOIN_TIMEOUT_S)
        except PenstockError as error:
            level = logging.DEBUG if self._is_waiting else logging.INFO  # once is enough to say it
            logger.log(level, "waiting for the scheduler: %s", error.message)
            self._is_waiting = True
            return
        self._is_waiting = False
        addresses = dict(response.router_addresses)
        self._metrics_addresses = response.metrics_addresses
        if self._group not in addresses:
            logger.warning("the scheduler has no group %r; it has %s", self._group, sorted(addresses))
            return
        self._address = addresses[self._group]

    async def _converse(self, address: str) -> bool:
        """Until the stream ends; whether anything was heard."""
        self._stream = Stream(
            lambda calls: self._network.route(address, calls),
            RouteCalls(hello=self._me),
            _pack,
        )
        try:
            error = await self._stream.run(self._on_events)
        finally:
            has_heard = self._reached_s != 0.0
            self._stream = None
            self._known, self._heard, self._reached_s = self.workers, (), 0.0
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
        logger.info("router at %s lost: %s", address, error.message)
        return has_heard

    def _on_events(self, events: RouteEvents) -> None:
        self._reached_s = self._reached_s or self._now_s()
        for answer in events.answers:
            pending = self._answers.get(answer.request_id)
            if pending is not None and not pending.done():
                pending.set_result(answer)
        if events.membership is not None:
            self._heard = events.membership.workers
            self._roles = events.membership.roles
            self.has_heard = True
            self.on_membership()


def _pack(items: Sequence[RouteQuery | GatewayLoad]) -> RouteCalls:
    """One message; of several loads the last one says it all."""
    loads = [item for item in items if isinstance(item, GatewayLoad)]
    queries = [item for item in items if isinstance(item, RouteQuery)]
    return RouteCalls(queries=queries, load=loads[-1] if loads else None)


async def _pause(seconds: float) -> None:
    """Let time pass; ended only by cancellation."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return
