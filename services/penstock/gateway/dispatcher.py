"""The gateway's half of the data plane: every request's task, every stream to router and workers.

Life of a request: from here it is routed, prefilled, decoded and, should a worker die, resumed.

    generate() -> RequestDriver (one task) -> Routes          (RouterClient: one stream to the group's router)
                                           -> WorkerSessions  (streams by worker life; Attempt by handle)
                                           -> WaitingQueue    (when every worker refuses)
    tokens:  decode stream -> DecodeListener -> Attempt -> Generation -> whoever reads it
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial

from penstock.core.errors import InternalError, InvalidRequest, RequestCancelled
from penstock.core.types import Request
from penstock.gateway.answered import Answered
from penstock.gateway.generation import Generation
from penstock.gateway.limits import DEFAULT_LIMITS, DispatchLimits
from penstock.gateway.liveness import Liveness
from penstock.gateway.network import Network
from penstock.gateway.request_driver import Desk, RequestDriver
from penstock.gateway.router_client import RouterClient
from penstock.gateway.routes import Routes
from penstock.gateway.tasks import OwnedTasks
from penstock.gateway.waiting_queue import WaitingQueue
from penstock.gateway.watch import Watch
from penstock.gateway.worker_sessions import WorkerSessions
from penstock.runtime import clock
from penstock.wire.messages import Hello, MembershipView

logger = logging.getLogger(__name__)


class RoutedDispatcher:
    """Answers requests with whatever workers there are; outlives each of them, and the control plane."""

    def __init__(
        self,
        me: Hello,
        group: str,
        network: Network,
        watch: Watch,
        limits: DispatchLimits = DEFAULT_LIMITS,
        now_s: Callable[[], float] = clock.now_s,
    ) -> None:
        metrics = watch.metrics
        self._tasks = OwnedTasks()
        self._drivers: dict[str, tuple[RequestDriver, asyncio.Task[None]]] = {}
        self._queue = WaitingQueue(limits.max_num_waiting)
        self._sessions = WorkerSessions(me, network, self._tasks, metrics, limits, now_s)
        self._sessions.on_capacity = self._queue.wake
        self._router = RouterClient(me, group, network, limits, now_s)
        self._router.on_membership = self._on_membership
        self._sessions.images.workers = lambda: self._router.workers
        routes = Routes(self._router, self._sessions.in_flight, metrics, now_s)
        self._desk = Desk(routes, self._sessions, self._queue, limits, metrics, watch.tracer, itertools.count(1), now_s)
        self._liveness = Liveness(self._sessions, network, self._tasks, limits, now_s)
        self._answered = Answered()
        self._is_closed = False

    async def start(self) -> None:
        """Begin to look for the control plane; returns at once, `membership` fills as soon as it is found."""
        for work in (self._router.run(), self._tick_forever()):
            self._tasks.start(work, self._must_not_end)

    async def close(self) -> None:
        """Cancel everything, here and on the workers, and wait until nothing is left running."""
        self._is_closed = True
        self._sessions.end_all()
        await self._tasks.close()

    # --- Dispatcher ---------------------------------------------------------------------------------------------------

    @property
    def num_requests(self) -> int:
        return len(self._drivers)

    @property
    def num_waiting(self) -> int:
        return len(self._queue)

    @property
    def num_encoding(self) -> int:
        return len(self._sessions.images)

    def generate(self, request: Request, files: Sequence[bytes] = ()) -> Generation:
        request_id = request.request_id
        if request_id in self._drivers:
            raise InvalidRequest(f"A request with the id '{request_id}' is being answered already.", "request_id")
        self._answered.arrived(request)
        generation = Generation(request_id, partial(self._cancel, request_id), self._desk.now_s())
        driver = RequestDriver(request, generation, self._desk, files)
        task = self._tasks.start(driver.run(), partial(self._over, driver, generation))
        self._drivers[request_id] = driver, task
        return generation

    def membership(self) -> Sequence[MembershipView]:
        return (self._router.view(),) if self._router.has_heard else ()

    # --- housekeeping -------------------------------------------------------------------------------------------------

    def _cancel(self, request_id: str) -> None:
        driver, task = self._drivers.pop(request_id)
        driver.cancel()
        task.cancel()

    def _over(self, driver: RequestDriver, generation: Generation, error: BaseException | None) -> None:
        """A request's task has ended; whatever the reason, its reader must not wait for ever."""
        present, _ = self._drivers.get(generation.request_id, (None, None))
        if present is driver:  # not when it was cancelled and the id is used again
            del self._drivers[generation.request_id]
        if error is not None:
            logger.error("request %s failed", generation.request_id, exc_info=error)
            generation.fail(InternalError("The gateway failed to handle this request."))
        generation.fail(RequestCancelled("The gateway is stopping."))
        self._answered.ended(generation, self._desk.now_s())
        self._desk.metrics.observe_stages(generation.timeline)

    def _on_membership(self) -> None:
        self._desk.routes.tell()
        self._queue.wake()
        self._sessions.keep_only(self._router.workers)

    async def _tick_forever(self) -> None:
        """Against lost news: a missed announcement of capacity costs one tick, a silent worker is noticed."""
        nothing = asyncio.Event()
        while True:
            try:
                async with asyncio.timeout(self._desk.limits.tick_s):
                    await nothing.wait()
            except TimeoutError:
                self._liveness.tick()
                self._queue.wake()
                self._router.report(self._answered.load(len(self._queue)))
                if self._router.has_heard:
                    self._sessions.keep_only(self._router.workers)

    def _must_not_end(self, error: BaseException | None) -> None:
        if not self._is_closed:
            logger.critical("a task the gateway cannot do without has ended", exc_info=error)
