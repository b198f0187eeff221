"""The sending end of a link to one life of one worker: reservations out, promises and news back.

Prefill workers push KV to decode workers over it, encoders embeddings to prefill workers. Life of a request: steps 3,
5 (reserve), 6 (push, through `channel`) and 7 (commit).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import grpc

from penstock.core.errors import PenstockError, Refused, UnknownReservation, WorkerLost
from penstock.core.types import WorkerRef
from penstock.runtime.outbox import Outbox
from penstock.runtime.rpc import to_error
from penstock.transfer.channel import KvChannel
from penstock.wire.merging import merge
from penstock.wire.messages import Commit, Hello, LinkCalls, LinkEvents, LinkWelcome, Reserve, Reserved

REPLY_TIMEOUT_S = 2.0  # a peer answers at once; silence means that it hangs
RENEWALS_PER_LEASE = 3

OpenLink = Callable[[WorkerRef, AsyncIterator[LinkCalls]], AsyncIterator[LinkEvents]]
OpenChannel = Callable[[LinkWelcome], Awaitable[KvChannel]]


class PeerLink:
    """Lives as long as its stream: when that breaks, whatever waits on the link fails with the reason."""

    def __init__(self, ref: WorkerRef, me: Hello) -> None:
        self.ref = ref
        self.channel: KvChannel  # set by `connect`
        self.is_broken = False
        self.is_silent = False  # broken because the peer did not answer
        self._outbox: Outbox[LinkCalls] = Outbox()
        self._outbox.put(LinkCalls(hello=me))
        self._welcome: asyncio.Future[LinkWelcome] = asyncio.get_running_loop().create_future()
        self._grants: dict[int, asyncio.Future[Reserved]] = {}
        self._starts: dict[int, asyncio.Future[None]] = {}  # one for each reservation held
        self._room = asyncio.Event()
        self._is_renewing = False
        self._readers: set[asyncio.Task[None]] = set()  # end when the link breaks
        self._tasks: set[asyncio.Task[None]] = set()  # end by themselves, also then

    @property
    def is_over(self) -> bool:
        """Broken, and nothing of it is under way any more."""
        return self.is_broken and not self._readers and not self._tasks

    async def connect(self, open_link: OpenLink, open_channel: OpenChannel) -> None:
        """Open the stream, hear the welcome, open the transfer channel it describes."""
        _spawn(self._listen(open_link), self._readers)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                welcome = await self._welcome
            channel = await open_channel(welcome)
        except TimeoutError:
            raise self._break_silent() from None
        except BaseException:
            self._break(WorkerLost(f"The link to {self.ref.worker_id} could not be opened."))
            raise
        if self.is_broken:
            await channel.close()
            raise WorkerLost(f"The link to {self.ref.worker_id} broke while it was opened.")
        self.channel = channel

    async def close(self) -> None:
        """End the stream and every transfer on it; on return nothing of them is under way."""
        self._break(WorkerLost("This worker closed the link."))
        await asyncio.gather(*self._readers, *self._tasks, return_exceptions=True)

    # --- reservations ---

    async def reserve(self, reserve: Reserve) -> Reserved:
        """Ask for blocks; raises the peer's Refused, or WorkerLost when it does not answer."""
        if self.is_broken:
            raise WorkerLost(f"The link to {self.ref.worker_id} is broken.")
        reservation_id = reserve.reservation_id
        grant: asyncio.Future[Reserved] = asyncio.get_running_loop().create_future()
        self._grants[reservation_id] = grant
        self._outbox.put(LinkCalls(reserves=[reserve]))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await grant
        except TimeoutError:  # whoever else waits on this link, or will, would wait in vain
            self._starts.pop(reservation_id, None)
            raise self._break_silent() from None
        except asyncio.CancelledError:
            self._give_up(reservation_id)
            raise
        finally:
            del self._grants[reservation_id]

    def commit(self, commit: Commit) -> None:
        self._outbox.put(LinkCalls(commits=[commit]))

    async def started(self, reservation_id: int) -> None:
        """Return when the peer has taken over what was pushed; raises what keeps it from doing so."""
        await self._starts[reservation_id]
        del self._starts[reservation_id]

    def release(self, reservation_id: int) -> None:
        """Give a reservation up. The peer hears of it once nothing of ours can be written any more."""
        start = self._starts.pop(reservation_id, None)
        if start is None:
            return
        if start.done() and not start.cancelled():
            start.exception()  # seen: nobody will await it any more
        _spawn(self._stop_and_release(reservation_id), self._tasks)

    async def wait_for_room(self, timeout_s: float) -> None:
        """Return when the peer, having refused us, has room again, or after `timeout_s`."""
        self._room.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._room.wait()
        except TimeoutError:
            return

    # --- inside ---

    async def _listen(self, open_link: OpenLink) -> None:
        reason: PenstockError = WorkerLost(f"{self.ref.worker_id} closed the link.")
        try:
            async for events in open_link(self.ref, self._calls()):
                self._on_events(events)
        except grpc.aio.AioRpcError as failure:
            error = to_error(failure)
            reason = error if isinstance(error, Refused) else WorkerLost(error.message)
        finally:
            self._break(reason)

    async def _calls(self) -> AsyncIterator[LinkCalls]:
        async for calls in self._outbox.batches():
            yield merge(calls)

    async def _renew(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            if self._starts:
                self._outbox.put(LinkCalls(renewed=list(self._starts)))

    def _give_up(self, reservation_id: int) -> None:
        """Nobody waits for the grant any more, which may be on its way or here already."""
        self._starts.pop(reservation_id, None)
        self._outbox.put(LinkCalls(released=[reservation_id]))

    async def _stop_and_release(self, reservation_id: int) -> None:
        await self.channel.stop(reservation_id)
        self._outbox.put(LinkCalls(released=[reservation_id]))

    def _on_events(self, events: LinkEvents) -> None:
        if events.welcome and not self._welcome.done():
            self._welcome.set_result(events.welcome)
        for reserved in events.reserved:
            self._on_reserved(reserved)
        for ended in events.refused:
            self._fail(ended.reservation_id, ended.error)
        for reservation_id in events.revoked:
            self._fail(reservation_id, UnknownReservation(f"{self.ref.worker_id} withdrew the reservation."))
        for reservation_id in events.started:
            start = self._starts.get(reservation_id)
            if start and not start.done():
                start.set_result(None)
        if events.has_capacity:
            self._room.set()

    def _on_reserved(self, reserved: Reserved) -> None:
        grant = self._grants.get(reserved.reservation_id)
        if grant and not grant.done():
            self._starts[reserved.reservation_id] = asyncio.get_running_loop().create_future()
            grant.set_result(reserved)
        if not self._is_renewing:
            self._is_renewing = True
            _spawn(self._renew(reserved.lease_s / RENEWALS_PER_LEASE), self._readers)

    def _fail(self, reservation_id: int, error: PenstockError) -> None:
        for waiting in (self._grants.get(reservation_id), self._starts.get(reservation_id)):
            if waiting and not waiting.done():
                waiting.set_exception(error)

    def _break_silent(self) -> WorkerLost:
        self.is_silent = True
        error = WorkerLost(f"{self.ref.worker_id} did not answer within {REPLY_TIMEOUT_S} s.")
        self._break(error)
        return error

    def _break(self, error: PenstockError) -> None:
        if self.is_broken:
            return
        self.is_broken = True
        self._outbox.close()
        self._room.set()
        if not self._welcome.done():
            self._welcome.set_exception(error)
        for reservation_id in [*self._grants, *self._starts]:
            self._fail(reservation_id, error)
        for task in self._readers - {asyncio.current_task()}:
            task.cancel()
        if hasattr(self, "channel"):
            _spawn(self.channel.close(), self._tasks)


def _spawn(work: Coroutine[None, None, None], tasks: "set[asyncio.Task[None]]") -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
