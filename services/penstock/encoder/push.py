"""Embeddings on their way to workers that prefill: staged, reserved for there, pushed, known to have arrived.

Life of a request: the second half of step 3.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from penstock.core.blocks import BlockPool
from penstock.core.embeddings import PAGE_TOKENS
from penstock.core.errors import PenstockError, TransferFailed
from penstock.core.timeline import Stage
from penstock.core.types import WorkerRef
from penstock.transfer.copies import CopyLane
from penstock.transfer.embeddings import write_in_slices
from penstock.transfer.memory import Bytes, KvMemory
from penstock.transfer.peer_link import PeerLink
from penstock.wire.encode_messages import EncodeStart
from penstock.wire.messages import Reserve, Reserved, StageSpan

TRANSFER_TIMEOUT_S = 10.0


class EmbeddingPusher:
    """Pushes from `memory`, where each image is staged for as long as it is read."""

    def __init__(
        self, memory: KvMemory, get_link: Callable[[WorkerRef], Awaitable[PeerLink]], now_s: Callable[[], float]
    ) -> None:
        self._memory = memory
        self._get_link = get_link
        self._now_s = now_s
        self._lane = CopyLane()
        self._pages = BlockPool(memory.layout.num_blocks, PAGE_TOKENS)
        self._has_room = asyncio.Event()
        self._numbers = count(1)

    @property
    def num_pages(self) -> int:
        """Held by images that are being pushed."""
        return self._pages.num_referenced

    async def push(self, gateway_id: str, start: EncodeStart, rows: Bytes) -> list[StageSpan]:
        """Bring the embeddings of an image to its destination; raises why they did not arrive."""
        began_s = self._now_s()
        pages = await self._take_pages(len(rows))
        try:
            await self._lane.run(write_in_slices(self._memory, pages, rows))
            link = await self._get_link(start.destination)
            await self._push_over(link, gateway_id, start, pages)
        finally:
            self._pages.release(pages)
            self._has_room.set()
        return [StageSpan(Stage.TRANSFER, self._now_s() - began_s, 0.0)]

    async def _push_over(self, link: PeerLink, gateway_id: str, start: EncodeStart, pages: list[int]) -> None:
        reservation_id = next(self._numbers)
        reserve = Reserve(
            reservation_id=reservation_id,
            request_id=start.request_id,
            attempt=0,
            gateway_id=gateway_id,
            handle=start.handle,
            num_tokens=start.image.num_tokens,
            max_new_tokens=0,
            image_index=start.index,
        )
        reserved = await link.reserve(reserve)
        try:
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                await self._push_until_started(link, reserved, pages, start.image.num_tokens)
        except TimeoutError:
            raise TransferFailed(f"{link.ref.worker_id} did not take the embeddings in time.") from None
        finally:
            link.release(reservation_id)

    async def _push_until_started(self, link: PeerLink, reserved: Reserved, pages: list[int], num_tokens: int) -> None:
        """Afterwards nothing reads the pages."""
        has_started = False
        deadline_s = self._now_s() + TRANSFER_TIMEOUT_S
        push = link.channel.push(
            reserved.reservation_id, pages, reserved.block_ids, 0, range(1), range(num_tokens), deadline_s
        )
        try:
            async with asyncio.TaskGroup() as group:
                pushing = group.create_task(push)
                await link.started(reserved.reservation_id)
                has_started = True
                await asyncio.wait([pushing])
        except* PenstockError as errors:
            if not has_started:  # otherwise every segment has arrived, whatever became of its ack
                raise _first_leaf(errors) from None

    async def _take_pages(self, num_tokens: int) -> list[int]:
        num_pages = self._pages.num_blocks_for(num_tokens)
        if num_pages > self._pages.num_blocks:
            raise TransferFailed(f"An image of {num_tokens} tokens is larger than the encoder's staging memory.")
        while (pages := self._pages.allocate(num_pages)) is None:
            self._has_room.clear()
            await self._has_room.wait()
        return pages


def _first_leaf(group: BaseExceptionGroup[PenstockError]) -> PenstockError:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
