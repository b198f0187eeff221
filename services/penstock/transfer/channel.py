"""One worker's way to push KV to one other worker, over one transport.

    push ──► parts (source rank x destination rank) ──► segments ──► a credit each ──► carrier ──► ack gives it back

A segment runs in a task of its own that only this channel ends, so a caller that is cancelled never leaves a copy or
a half-sent frame behind: `push` and `stop` return when nothing of theirs is under way any more.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field

from penstock.core.errors import PenstockError, RequestCancelled, TransferFailed
from penstock.core.kv_layout import KvLayout
from penstock.runtime import clock
from penstock.transfer.carrier import Carrier, Segment
from penstock.transfer.counters import TransportCounters
from penstock.transfer.layout import BlockTable, KvPart, Place, shared_heads, split_part
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import Peer, TransferPolicy
from penstock.transfer.segments import SegmentHeader, Status, error_for, worker_key

NUM_REMEMBERED_STOPS = 1024
MIN_SEGMENT_BYTES = 2 << 20  # below this, what a segment costs by itself outweighs sending it earlier
SEGMENTS_PER_PUSH = 2  # the peer verifies one segment while the next is copied; more would only cost more


@dataclass(frozen=True, slots=True)
class PushStats:
    num_bytes: int
    seconds: float
    num_segments: int
    num_retries: int


@dataclass(slots=True, eq=False)
class _Push:
    """One push under way."""

    reservation_id: int
    deadline_s: float
    is_stopped: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    failure: PenstockError | None = None
    num_bytes: int = 0
    num_segments: int = 0
    num_resends: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_ending(self) -> bool:
        return self.is_stopped or self.failure is not None

    def start(self, delivery: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(delivery)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def drained(self) -> None:
        """Wait for every delivery, also while being cancelled: pools may change only after this."""
        cancelled: asyncio.CancelledError | None = None
        while self.tasks:
            try:
                await asyncio.wait(self.tasks)
            except asyncio.CancelledError as error:
                self.is_stopped, cancelled = True, error
        if cancelled is not None:
            raise cancelled


@dataclass(frozen=True, slots=True)
class _Spans:
    """What a push moves, from where to where."""

    source: BlockTable
    destination: BlockTable
    layers: range
    tokens: range


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a channel: who they are, and their ranks' pools."""

    me: Peer
    peer: Peer
    memories: Sequence[KvMemory]
    layouts: Sequence[KvLayout]  # of the peer, one per rank


class KvChannel:
    """Made by `KvSender.connect`."""

    def __init__(
        self, carrier: Carrier, ends: Ends, policy: TransferPolicy, counters: TransportCounters, reason: str
    ) -> None:
        self.transport = carrier.transport
        self.reason = reason  # why this transport
        self.peer = ends.peer
        self._carrier = carrier
        self._ends = ends
        self._policy = policy
        self._counters = counters
        self._credits = asyncio.Semaphore(policy.num_credits)
        self._sequence = itertools.count(1)
        self._pushes: set[_Push] = set()
        self._stopped: OrderedDict[int, None] = OrderedDict()
        self._is_closing = False

    @property
    def is_open(self) -> bool:
        return self._carrier.link.is_open

    async def push(  # noqa: PLR0913, PLR0917
        self,
        reservation_id: int,
        source_blocks: Sequence[int],
        destination_blocks: Sequence[int],
        first_destination_token: int,
        layers: range,
        tokens: range,
        deadline_s: float,
    ) -> PushStats:
        """Move KV of `tokens` in `layers`; returns when the peer has verified every segment.

        `source_blocks` hold the sequence from token 0, `destination_blocks` from `first_destination_token`.
        `deadline_s` is on the clock of `runtime.clock.now_s`. Raises TransferFailed, UnknownReservation,
        IncarnationMismatch, RequestCancelled (after `stop`).
        """
        destination = BlockTable.of(destination_blocks, first_destination_token)
        spans = _Spans(BlockTable.of(source_blocks), destination, layers, tokens)
        self._check(spans)
        if self._is_closing:
            raise TransferFailed(f"The transfer channel to worker {self._ends.peer[0]} is closed.")
        if reservation_id in self._stopped:
            raise RequestCancelled(f"Pushes of reservation {reservation_id} were stopped.")
        began_s = clock.now_s()
        push = _Push(reservation_id, deadline_s)
        self._pushes.add(push)
        try:
            await self._run(push, list(self._segments(reservation_id, spans)) if layers and tokens else ())
        except BaseException:
            self._counters.num_failures += 1
            raise
        finally:
            self._pushes.discard(push)
            push.is_over.set()
        seconds = clock.now_s() - began_s
        self._counters.seconds += seconds
        return PushStats(push.num_bytes, seconds, push.num_segments, push.num_resends)

    async def stop(self, reservation_id: int) -> None:
        """End this reservation's pushes; on return nothing of ours can be written for it any more.

        Segments already under way run to their end, which their push's deadline bounds: cutting one short would break
        the connection for every other reservation.
        """
        self._stopped[reservation_id] = None
        if len(self._stopped) > NUM_REMEMBERED_STOPS:
            self._stopped.popitem(last=False)
        pushes = [push for push in self._pushes if push.reservation_id == reservation_id]
        await _end(pushes)

    async def close(self) -> None:
        """End every push and the connection. New pushes fail from here on."""
        self._is_closing = True
        await _end(list(self._pushes))
        await self._carrier.close()

    def _check(self, spans: _Spans) -> None:
        """Refuse what does not exist: a block id of the peer's that is out of range must never become an address."""
        layers, tokens = spans.layers, spans.tokens
        is_whole = all(spans.source.holds(memory.layout, tokens) for memory in self._ends.memories)
        if not is_whole or not all(spans.destination.holds(layout, tokens) for layout in self._ends.layouts):
            raise TransferFailed(f"The blocks given do not hold tokens {tokens.start} to {tokens.stop} at both ends.")
        num_layers = self._ends.memories[0].layout.num_layers
        if not 0 <= layers.start <= layers.stop <= num_layers or layers.step != 1 or tokens.step != 1:
            raise TransferFailed(f"There is no {layers} of {num_layers} layers to transfer.")

    def _segments(self, reservation_id: int, spans: _Spans) -> Iterator[Segment]:
        for memory, (rank, layout) in itertools.product(self._ends.memories, enumerate(self._ends.layouts)):
            heads = shared_heads(memory.layout, layout)
            if not heads:
                continue
            source, destination = Place(memory.layout, spans.source), Place(layout, spans.destination)
            whole = KvPart(spans.layers, spans.tokens, heads)
            num_bytes = whole.num_bytes(layout) // SEGMENTS_PER_PUSH
            segment_bytes = min(max(num_bytes, MIN_SEGMENT_BYTES), self._policy.segment_bytes)
            for part in split_part(whole, memory.layout, layout, segment_bytes):
                header = self._header(reservation_id, part, memory.layout)
                yield Segment(header, memory, source, destination, rank)

    def _header(self, reservation_id: int, part: KvPart, layout: KvLayout) -> SegmentHeader:
        return SegmentHeader(
            reservation_id=reservation_id,
            sequence=next(self._sequence),
            sender_key=worker_key(self._ends.me[0]),
            sender_incarnation=self._ends.me[1],
            receiver_incarnation=self._ends.peer[1],
            part=part,
            tp_rank=layout.tp_rank,
            num_bytes=part.num_bytes(layout),
            checksum=0,
        )

    async def _run(self, push: _Push, segments: Sequence[Segment]) -> None:
        try:
            async with asyncio.timeout(push.deadline_s - clock.now_s()):
                for segment in segments if await self._may_write(push, segments) else ():
                    await self._credits.acquire()
                    if push.is_ending:
                        self._credits.release()
                        break
                    push.start(self._deliver(push, segment))
        except TimeoutError:
            push.failure = push.failure or self._late(push)
        except asyncio.CancelledError:
            push.is_stopped = True
            raise
        finally:
            await push.drained()
        if push.failure is not None:
            raise push.failure
        if push.is_stopped:
            raise RequestCancelled(f"The push of reservation {push.reservation_id} was stopped.")

    async def _may_write(self, push: _Push, segments: Sequence[Segment]) -> bool:
        """False when the peer has the whole reservation already; raises when it has none."""
        if all(segment.is_inline for segment in segments):
            return True
        part = KvPart(range(0), range(0), range(0))
        header = self._header(push.reservation_id, part, self._ends.memories[0].layout)
        ack = await self._carrier.begin(header)
        if ack is None or ack.status is Status.OK:
            return True
        if ack.status is Status.ARRIVED:
            return False
        self._counters.num_refused += 1
        raise error_for(ack.status, self._ends.peer[0])

    async def _deliver(self, push: _Push, segment: Segment) -> None:
        try:
            async with asyncio.timeout(push.deadline_s - clock.now_s()):
                await self._send(push, segment)
        except TimeoutError:
            push.failure = push.failure or self._late(push)
        except PenstockError as error:
            push.failure = push.failure or error
        finally:
            self._credits.release()

    async def _send(self, push: _Push, segment: Segment) -> None:
        """Send until the peer has it whole."""
        for num_resends in itertools.count():
            ack = await self._carrier.carry(segment)
            if ack.status is Status.OK:
                push.num_bytes += segment.num_bytes
                push.num_segments += 1
                self._counters.num_bytes += segment.num_bytes
                self._counters.num_segments += 1
                return
            is_corrupt = ack.status is Status.CHECKSUM
            self._counters.num_checksum_failures += is_corrupt
            self._counters.num_refused += not is_corrupt
            if not is_corrupt or num_resends >= self._policy.max_resends or push.is_ending:
                raise error_for(ack.status, self._ends.peer[0])
            push.num_resends += 1
            self._counters.num_resends += 1

    def _late(self, push: _Push) -> TransferFailed:
        return TransferFailed(
            f"The KV of reservation {push.reservation_id} did not reach worker {self._ends.peer[0]} by its deadline."
        )


async def _end(pushes: Sequence[_Push]) -> None:
    for push in pushes:
        push.is_stopped = True
    for push in pushes:
        await push.is_over.wait()
