"""Links to the workers that something is pushed to: one per life of each, opened when first wanted.

opening -> open -> broken ------> opening ...            whoever wants it meanwhile waits
   ^                  '-- silent -> being asked again -> open ...   whoever wants it meanwhile is refused at once
   '-- failed --------------------------'
"""

import asyncio
from dataclasses import dataclass

from penstock.core.errors import TransferFailed, WorkerLost
from penstock.core.types import WorkerRef
from penstock.transfer.channel import KvChannel
from penstock.transfer.peer_link import OpenLink, PeerLink
from penstock.transfer.sender import KvSender
from penstock.wire.messages import Hello, LinkWelcome


@dataclass(slots=True, eq=False)
class Opening:
    """A link and the task that opens it."""

    link: PeerLink
    task: asyncio.Task[None]
    is_second_try: bool  # the one before was silent: nobody should have to wait for this one

    @property
    def has_failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

    @property
    def is_useless(self) -> bool:
        """Whether opening the link failed, or the link has broken since."""
        return self.task.done() and (self.has_failed or self.link.is_broken)

    @property
    def is_open(self) -> bool:
        return self.task.done() and not self.is_useless


class PeerLinks:
    """Hands out open links; a broken one is replaced the next time it is asked for."""

    def __init__(self, me: tuple[str, int], revision: str, sender: KvSender, open_link: OpenLink) -> None:
        self._me = me
        self._revision = revision
        self._sender = sender
        self._open_link = open_link
        self._openings: dict[tuple[str, int], Opening] = {}

    async def get(self, ref: WorkerRef) -> PeerLink:
        """The link to this life of a worker; raises why there can be none."""
        key = ref.worker_id, ref.incarnation
        opening = self._openings.get(key)
        if opening is None or opening.is_useless:
            opening = self._openings[key] = self._begin(ref, opening)
        if opening.is_second_try and not opening.task.done():
            raise WorkerLost(f"{ref.worker_id} has not answered lately.")
        await asyncio.shield(opening.task)
        return opening.link

    @property
    def transports(self) -> tuple[tuple[str, str], ...]:
        """Transport in use to each peer, for heartbeats and, from another thread, for metrics."""
        links = (opening.link for opening in list(self._openings.values()) if opening.is_open)
        return tuple((link.ref.worker_id, link.channel.transport) for link in links)

    async def close(self) -> None:
        openings = list(self._openings.values())
        for opening in openings:
            opening.task.cancel()
        await asyncio.gather(*(opening.task for opening in openings), return_exceptions=True)
        for opening in openings:
            if not opening.has_failed:
                await opening.link.close()
        self._openings.clear()

    def _begin(self, ref: WorkerRef, replaced: Opening | None) -> Opening:
        link = PeerLink(ref, Hello(*self._me, callee_incarnation=ref.incarnation))
        is_second_try = replaced is not None and replaced.link.is_silent
        return Opening(link, asyncio.create_task(self._open(link, replaced)), is_second_try)

    async def _open(self, link: PeerLink, replaced: Opening | None) -> None:
        """Once the broken link's channel is closed: until then the peer must keep what it promised there."""
        if replaced:
            await replaced.link.close()
        await link.connect(self._open_link, self._open_channel)
        self._forget_useless()

    async def _open_channel(self, welcome: LinkWelcome) -> KvChannel:
        if welcome.revision != self._revision:
            raise TransferFailed(
                f"{welcome.worker.worker_id} serves revision {welcome.revision}, this worker {self._revision}."
            )
        worker = welcome.worker
        return await self._sender.connect(worker.worker_id, worker.incarnation, welcome.layouts, welcome.endpoints)

    def _forget_useless(self) -> None:
        """Older lives, and workers that are no more; what is still being closed is kept for whoever replaces it."""
        for key, opening in list(self._openings.items()):
            if opening.is_useless and (opening.has_failed or opening.link.is_over):
                del self._openings[key]
