"""Being a member: register with the scheduler, then tell the group's router several times a second how we are.

When the router does not know us (it was restarted) or does not answer, we register again, for ever: the data plane
works on meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable

from penstock.core.blocks import BlockPool
from penstock.core.errors import PenstockError
from penstock.core.types import WorkerState
from penstock.runtime.channel import Channels
from penstock.runtime.rpc import call
from penstock.wire import stubs
from penstock.wire.messages import HeartbeatRequest, RegisterRequest, RegisterResponse

REPLY_TIMEOUT_S = 2.0
RETRY_INTERVAL_S = 0.5
MAX_FAILURES = 3  # heartbeats in a row that fail before we ask the scheduler for a router again

log = logging.getLogger(__name__)


class Registration:
    """One worker's membership. `run` is its task."""

    def __init__(
        self,
        scheduler_address: str,
        channels: Channels,
        describe: Callable[[], WorkerState],
        prefixes: BlockPool,
    ) -> None:
        self._register = stubs.membership_register(channels.get(scheduler_address))
        self._channels = channels
        self._describe = describe
        self._pool = prefixes
        self._has_news = asyncio.Event()

    def announce(self) -> None:
        """Send the next heartbeat now: something about us has changed that routes depend on."""
        self._has_news.set()

    async def run(self) -> None:
        is_waiting = False
        while True:
            try:
                response = await call(self._register, RegisterRequest(self._describe()), timeout_s=REPLY_TIMEOUT_S)
            except PenstockError as error:
                log.log(logging.DEBUG if is_waiting else logging.INFO, "waiting for the scheduler: %s", error.message)
                is_waiting = True
                await asyncio.sleep(RETRY_INTERVAL_S)
                continue
            log.info("registered; router at %s", response.router_address)
            is_waiting = False
            await self._beat(response)

    async def _beat(self, registered: RegisterResponse) -> None:
        """Heartbeats to one router, until it forgets us or stays silent."""
        heartbeat = stubs.router_heartbeat(self._channels.get(registered.router_address))
        self._pool.take_changes()
        stored, evicted, is_full = self._pool.known_hashes(), list[bytes](), True
        num_failures = 0
        while num_failures < MAX_FAILURES:
            request = HeartbeatRequest(self._describe(), stored, evicted, is_full)
            try:
                response = await call(heartbeat, request, timeout_s=REPLY_TIMEOUT_S)
            except PenstockError as error:
                log.info("a heartbeat failed: %s", error.message)
                num_failures += 1
                await asyncio.sleep(RETRY_INTERVAL_S)
                self._pool.take_changes()  # heard or not: the whole picture again
                stored, evicted, is_full = self._pool.known_hashes(), [], True
                continue
            if not response.is_known:
                if is_full:  # just registered, and unknown even so: do not go round without a pause
                    await asyncio.sleep(RETRY_INTERVAL_S)
                return
            num_failures, is_full = 0, False
            await self._wait(registered.heartbeat_interval_s)
            stored, evicted = self._pool.take_changes()

    async def _wait(self, interval_s: float) -> None:
        self._has_news.clear()
        try:
            async with asyncio.timeout(interval_s):
                await self._has_news.wait()
        except TimeoutError:
            return
