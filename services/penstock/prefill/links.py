"""Links to decode workers: one per life of each, opened when first wanted."""

import asyncio

from penstock.core.errors import TransferFailed
from penstock.core.types import WorkerRef
from penstock.prefill.decode_link import DecodeLink, OpenLink
from penstock.transfer.channel import KvChannel
from penstock.transfer.sender import KvSender
from penstock.wire.messages import Hello, LinkWelcome


class DecodeLinks:
    """Hands out open links; a broken one is replaced the next time it is asked for."""

    def __init__(self, me: tuple[str, int], revision: str, sender: KvSender, open_link: OpenLink) -> None:
        self._me = me
        self._revision = revision
        self._sender = sender
        self._open_link = open_link
        self._links: dict[tuple[str, int], asyncio.Task[DecodeLink]] = {}

    async def get(self, ref: WorkerRef) -> DecodeLink:
        """The link to this life of a decode worker; raises why there can be none."""
        key = ref.worker_id, ref.incarnation
        opening = self._links.get(key)
        if opening is None or _is_useless(opening):
            opening = self._links[key] = asyncio.create_task(self._open(ref, replaced=opening))
        return await asyncio.shield(opening)

    @property
    def transports(self) -> tuple[tuple[str, str], ...]:
        """Transport in use to each decode worker, for heartbeats and metrics."""
        links = (opening.result() for opening in self._links.values() if not _is_useless(opening) and opening.done())
        return tuple((link.ref.worker_id, link.channel.transport) for link in links)

    async def close(self) -> None:
        for opening in self._links.values():
            opening.cancel()
        ended = await asyncio.gather(*self._links.values(), return_exceptions=True)
        for link in ended:
            if isinstance(link, DecodeLink):
                await link.close()
        self._links.clear()

    async def _open(self, ref: WorkerRef, replaced: "asyncio.Task[DecodeLink] | None") -> DecodeLink:
        """Once the broken link's channel is closed: until then the decode worker must keep what it promised there."""
        if replaced and not _has_failed(replaced):
            await replaced.result().close()
        link = DecodeLink(ref, Hello(*self._me, callee_incarnation=ref.incarnation))
        await link.connect(self._open_link, self._open_channel)
        self._forget_useless()
        return link

    async def _open_channel(self, welcome: LinkWelcome) -> KvChannel:
        if welcome.revision != self._revision:
            raise TransferFailed(
                f"{welcome.worker.worker_id} serves revision {welcome.revision}, this worker {self._revision}."
            )
        worker = welcome.worker
        return await self._sender.connect(worker.worker_id, worker.incarnation, welcome.layouts, welcome.endpoints)

    def _forget_useless(self) -> None:
        """Older lives, and workers that are no more; what is still being closed is kept for whoever replaces it."""
        for key, opening in list(self._links.items()):
            if _is_useless(opening) and (_has_failed(opening) or opening.result().is_over):
                del self._links[key]


def _is_useless(opening: "asyncio.Task[DecodeLink]") -> bool:
    """Whether opening the link failed, or the link has broken since."""
    return opening.done() and (_has_failed(opening) or opening.result().is_broken)


def _has_failed(opening: "asyncio.Task[DecodeLink]") -> bool:
    return opening.cancelled() or opening.exception() is not None
