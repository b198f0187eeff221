"""Handing one request over to a decode worker: reserve there, push KV as it is made, commit, see it started.

Life of a request: steps 5 to 7. The sequence holds its blocks until the decode worker has started it: when one decode
worker fails, the next one is tried and nothing is computed again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import NamedTuple

from penstock.core.errors import PenstockError, Refused, RequestCancelled, TransferFailed, WorkerLost
from penstock.core.timeline import Stage
from penstock.core.types import Request, Sequence, WorkerRef
from penstock.transfer.peer_link import PeerLink
from penstock.wire.messages import Commit, Reserve, Reserved, StageSpan


@dataclass(frozen=True, slots=True)
class HandoffLimits:
    """How long a finished prefill keeps looking for a decode worker, and how long one push or start may take."""

    patience_s: float = 5.0
    transfer_timeout_s: float = 10.0
    retry_interval_s: float = 0.25  # at most this long between two rounds through the candidates


class Piece(NamedTuple):
    """KV that is in the pool: some layers of some tokens."""

    layers: range
    tokens: range


class Handoff:
    """One request on its way out. `run` is its task; the engine's events feed it."""

    def __init__(
        self,
        sequence: Sequence,
        candidates: SequenceOf[WorkerRef],
        get_link: Callable[[WorkerRef], Awaitable[PeerLink]],
        new_reservation_id: Callable[[], int],
        limits: HandoffLimits,
        now_s: Callable[[], float],
    ) -> None:
        self.sequence = sequence
        self.task: asyncio.Task[None] | None = None
        self._num_tokens = sequence.request.num_tokens  # those whose KV is pushed: all known before the first token
        self._candidates = candidates
        self._get_link = get_link
        self._new_reservation_id = new_reservation_id
        self._limits = limits
        self._now_s = now_s
        self._pieces: list[Piece] = []
        self._has_news = asyncio.Event()
        self._is_started = False
        self._first_token_id: int | None = None
        self._first_token_s = 0.0

    # --- fed by the engine's events ---

    def add_piece(self, layers: range, tokens: range) -> None:
        """This KV is in the pool now. Consecutive layer groups of the same tokens that wait together go together."""
        self._pieces.append(Piece(layers, tokens))
        self._has_news.set()

    def add_first_token(self, token_id: int) -> None:
        """The prompt is computed: no further piece comes, and the decode worker may begin with this token."""
        self._first_token_id = token_id
        self._first_token_s = self._now_s()
        self._has_news.set()

    # --- the task ---

    async def run(self) -> tuple[WorkerRef, list[StageSpan]]:
        """Hand over and return to whom; raises why no candidate could take it."""
        began_s = self._now_s()
        while True:
            error: PenstockError = WorkerLost("No decode worker was named for this request.")
            room: PeerLink | None = None
            for ref in self._candidates:
                link: PeerLink | None = None
                try:
                    link = await self._get_link(ref)
                    return await self._hand_over_to(link, began_s)
                except PenstockError as failure:
                    error = failure
                    room = link if link and isinstance(failure, Refused) else room
                if self.sequence.is_cancelled:  # a failure in the same moment may hide the cancellation of our task
                    raise RequestCancelled("The request was cancelled while it was handed over.")
            if self._is_out_of_patience():
                raise error
            if room:
                await room.wait_for_room(self._limits.retry_interval_s)
            else:
                await asyncio.sleep(self._limits.retry_interval_s)

    def _is_out_of_patience(self) -> bool:
        """Patience counts from the first token: until then the blocks would be held anyway."""
        if self._first_token_id is None:
            return False
        return self._now_s() - self._first_token_s > self._limits.patience_s

    async def _hand_over_to(self, link: PeerLink, began_s: float) -> tuple[WorkerRef, list[StageSpan]]:
        request = self.sequence.request
        reservation_id = self._new_reservation_id()
        reserved = await link.reserve(
            Reserve(
                reservation_id=reservation_id,
                request_id=request.request_id,
                attempt=request.attempt,
                gateway_id=request.gateway_id,
                handle=request.handle,
                num_tokens=self._num_tokens,
                max_new_tokens=request.sampling.max_tokens - len(request.output_token_ids),
                block_hashes=request.block_hashes,
            )
        )
        reserved_s = self._now_s()
        try:
            await self._transfer(link, reserved)
        except PenstockError:
            if not self._is_started:  # otherwise every segment has arrived, whatever became of its ack
                raise
        finally:
            link.release(reservation_id)
        now_s = self._now_s()
        return link.ref, [
            StageSpan(Stage.RESERVE, now_s - began_s, now_s - reserved_s),
            StageSpan(Stage.TRANSFER, now_s - reserved_s, 0.0),
        ]

    async def _transfer(self, link: PeerLink, reserved: Reserved) -> None:
        try:
            async with asyncio.timeout(None) as deadline:
                await self._push_and_commit(link, reserved, deadline)
        except TimeoutError:
            raise TransferFailed(f"{link.ref.worker_id} did not start the request in time.") from None

    async def _push_and_commit(self, link: PeerLink, reserved: Reserved, deadline: asyncio.Timeout) -> None:
        """Push while the prompt is computed; once the first token is known the rest has a deadline."""
        try:
            async with asyncio.TaskGroup() as pushes:
                async for piece in self._pieces_beyond(reserved.num_cached_tokens):
                    pushes.create_task(self._push(link, reserved, piece))
                link.commit(Commit(reserved.reservation_id, self._request_with_first_token()))
                deadline.reschedule(asyncio.get_running_loop().time() + self._limits.transfer_timeout_s)
                await link.started(reserved.reservation_id)
                self._is_started = True
        except* PenstockError as group:
            raise _first_leaf(group) from None

    async def _push(self, link: PeerLink, reserved: Reserved, piece: Piece) -> None:
        await link.channel.push(
            reserved.reservation_id,
            self.sequence.block_ids,
            reserved.block_ids,
            reserved.num_cached_tokens,
            piece.layers,
            piece.tokens,
            self._now_s() + self._limits.transfer_timeout_s,
        )

    async def _pieces_beyond(self, num_cached_tokens: int) -> AsyncIterator[Piece]:
        """All pieces in the order made, less the tokens the decode worker has; ends after the first token."""
        num_seen = 0
        while True:
            fresh = self._pieces[num_seen:]
            num_seen += len(fresh)
            for piece in _joined(fresh):
                tokens = range(max(piece.tokens.start, num_cached_tokens), piece.tokens.stop)
                if tokens:
                    yield Piece(piece.layers, tokens)
            if self._first_token_id is not None and num_seen == len(self._pieces):
                return
            self._has_news.clear()
            await self._has_news.wait()

    def _request_with_first_token(self) -> Request:
        assert self._first_token_id is not None, "a commit follows the first token"
        request = self.sequence.request
        return replace(request, output_token_ids=[*request.output_token_ids, self._first_token_id])


def _joined(pieces: SequenceOf[Piece]) -> list[Piece]:
    """Join pieces of the same tokens whose layers follow each other: fewer, longer segments."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].tokens == piece.tokens and joined[-1].layers.stop == piece.layers.start:
            joined[-1] = Piece(range(joined[-1].layers.start, piece.layers.stop), piece.tokens)
        else:
            joined.append(piece)
    return joined


def _first_leaf(group: BaseExceptionGroup[PenstockError]) -> PenstockError:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
