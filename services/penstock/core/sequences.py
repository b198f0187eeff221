"""The sequences of one worker, and the blocks they hold.

accept -> waiting -> running -(prompt computed)-> running (decoded here) -> finished
             ^          |   '---------------------> held (is_prefill_only: being handed over) -> released
             '-preempted'
reserve -> held (its KV is arriving) -> join -> running

Whatever waits holds blocks for all its known tokens, so that it can always start; what is preempted holds none, so that
those who run can always grow. A sequence has an owner for as long as it has blocks that somebody may touch.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from penstock.core.blocks import BlockPool
from penstock.core.embeddings import EmbeddingBook, find_ready_tokens, hold_images, is_without_embeddings
from penstock.core.errors import PenstockError, Refused
from penstock.core.policies.admission import AdmissionLimits, WorkerLoad, refuse_prefill, refuse_reservation
from penstock.core.policies.batching import num_new_blocks
from penstock.core.sequence_prefix import count_prefix, enter_full_blocks
from penstock.core.types import FinishReason, Request, SampledToken, ScheduledSequence, Sequence


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One sequence gained a token; `reason` is set when it was its last."""

    sequence: Sequence
    token: SampledToken
    reason: FinishReason | None


class SequenceOwner(Protocol):
    """Whoever put a sequence in and wants to know what becomes of it."""

    def on_start(self, sequence: Sequence) -> None:
        """The sequence is in a batch for the first time."""
        ...

    def on_layers(self, items: SequenceOf[ScheduledSequence], layers: range) -> None:
        """The KV of these tokens is in the pool for these layers, while later layers still compute."""
        ...

    def on_tokens(self, step: int, events: SequenceOf[TokenEvent]) -> None:
        """A step ended; sequences that finished with it have already given their blocks back."""
        ...


Refuse = Callable[[WorkerLoad, int, int], Refused | None]  # tokens to compute, blocks beyond those in use


def never_refuse(_load: WorkerLoad, _num_tokens: int, _num_blocks: int) -> None:
    """For what was accepted before."""


class SequenceBook:
    """Who waits, runs and is held, for whom, on which blocks."""

    def __init__(self, pool: BlockPool, limits: AdmissionLimits, now_s: Callable[[], float]) -> None:
        self.pool = pool
        self.waiting: dict[Sequence, None] = {}  # in the order they are served
        self.preempted: dict[Sequence, None] = {}  # oldest first
        self.running: dict[Sequence, None] = {}  # oldest first
        self.owners: dict[Sequence, SequenceOwner] = {}  # of every sequence there is
        self.is_draining = False
        self.oversubscribes = False  # takes sequences without blocks, for somebody who moves others to the host
        self.embeddings: EmbeddingBook | None = None  # of images; None: the model has no vision
        self.on_work: Callable[[], None] = lambda: None
        self.on_stranded: Callable[[Sequence], None] = self.release  # preempted, and can never run again here
        self._limits = limits
        self.now_s = now_s
        self.in_step: dict[Sequence, None] = {}  # in the batch's order: what is freed first is evicted first
        self.step_began_s = 0.0  # the last one, not counting a paused one that went on
        self._room_watchers: dict[object, Callable[[], None]] = {}

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) + len(self.preempted)

    @property
    def num_pending_tokens(self) -> int:
        """Accepted prompt tokens not yet computed."""
        return _num_pending_before(self, float("inf"))

    @property
    def num_decoding(self) -> int:
        """Running sequences whose prompt is computed."""
        return sum(s.num_tokens_to_run == 1 and not s.is_prefill_only for s in self.running)

    @property
    def num_context_tokens(self) -> int:
        """KV tokens of running sequences."""
        return sum(sequence.num_computed_tokens for sequence in self.running)

    @property
    def load(self) -> WorkerLoad:
        num_owed = sum(self.pool.num_blocks_for(sequence.num_tokens) for sequence in self.preempted)
        return WorkerLoad(
            num_sequences=len(self.owners),
            num_pending_tokens=self.num_pending_tokens,
            num_free_blocks=max(0, self.pool.num_free - num_owed),
            num_decoding=len(self.running),
            is_draining=self.is_draining,
        )

    def accept(self, request: Request, owner: SequenceOwner, *, is_prefill_only: bool) -> Sequence:
        """Take a request to prefill, with blocks for all its known tokens, or raise Refused."""
        sequence = Sequence(
            request=request,
            token_ids=[*request.prompt_token_ids, *request.output_token_ids],
            arrived_s=self.now_s(),
            block_hashes=list(request.block_hashes),
            is_prefill_only=is_prefill_only,
        )

        def refuse(load: WorkerLoad, num_tokens: int, num_blocks: int) -> Refused | None:
            if self._limits.is_by_deadline:
                load = replace(load, num_pending_tokens=_num_pending_before(self, request.first_token_deadline_s))
            return refuse_prefill(load, num_tokens, num_blocks, self._limits)

        if self.oversubscribes:
            if refusal := refuse(replace(self.load, num_free_blocks=self.pool.num_blocks), sequence.num_tokens, 0):
                raise refusal
            self.preempted[sequence] = None
        else:
            self._give_blocks(sequence, sequence.num_tokens, sequence.num_tokens - 1, refuse)
            try:
                hold_images(sequence, self.embeddings)
            except PenstockError:
                self.pool.release(sequence.block_ids)
                raise
            self.waiting[sequence] = None
        self.owners[sequence] = owner
        self.on_work()
        return sequence

    def arrived(self, sequence: Sequence, image: int) -> None:
        """The embeddings of an image are here: its sequence may run beyond it."""
        assert self.embeddings is not None, "nothing arrives that was not wanted"
        self.embeddings.arrived(sequence, image)
        self.on_work()

    def reserve(self, sequence: Sequence, owner: SequenceOwner, num_tokens: int) -> None:
        """Promise blocks for `num_tokens` whose KV another worker computes, or raise Refused.

        Leading blocks that the prefix cache holds are taken from there; they make `sequence.num_cached_tokens`.
        """

        def refuse(load: WorkerLoad, _: int, num_blocks: int) -> Refused | None:
            return refuse_reservation(load, num_blocks, self._limits)

        self._give_blocks(sequence, num_tokens, num_tokens, refuse)
        self.owners[sequence] = owner

    def join(self, sequence: Sequence) -> None:
        """Decode a reserved sequence from now on: the KV of all its tokens but the last has arrived."""
        sequence.num_computed_tokens = sequence.num_tokens - 1
        enter_full_blocks(sequence, self.pool)
        self.running[sequence] = None
        self.on_work()

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence, whatever its state; its blocks are free at once, or after the step that uses them."""
        if self.owners.pop(sequence, None) is None:
            return
        self.stop(sequence)
        if sequence not in self.in_step:
            self._free_blocks(sequence)

    def stop(self, sequence: Sequence) -> None:
        """Run a sequence no more, but keep its blocks until `release`: somebody is still reading them."""
        sequence.is_cancelled = True
        for held in (self.waiting, self.preempted, self.running):
            held.pop(sequence, None)

    def preempt(self, sequence: Sequence) -> None:
        """Take a running sequence's blocks; it is first in line to be computed again."""
        del self.running[sequence]
        self.pool.release(sequence.block_ids)
        sequence.block_ids = []
        sequence.num_computed_tokens = sequence.num_hashed_blocks = 0
        self.preempted = {sequence: None, **self.preempted}
        if is_without_embeddings(sequence):
            self.on_stranded(sequence)
        find_ready_tokens(sequence)

    def readmit(self) -> None:
        """Let preempted sequences wait again, the oldest first, once there are blocks for all their tokens."""
        admitted: dict[Sequence, None] = {}
        for sequence in list(self.preempted):
            num_spare = self.pool.num_free - len(self.running)  # those that run grow meanwhile
            if self.pool.num_blocks_for(sequence.num_tokens) > num_spare:
                break
            self.readmit_one(sequence)
            admitted[sequence] = None
        if admitted:
            self.waiting = admitted | self.waiting

    def readmit_one(self, sequence: Sequence) -> None:
        """Let a preempted sequence wait again; there are blocks for all its tokens."""
        del self.preempted[sequence]
        self._give_blocks(sequence, sequence.num_tokens, max_cached_tokens=sequence.num_tokens - 1)
        self.waiting[sequence] = None

    def begin_step(self, items: Iterable[ScheduledSequence]) -> None:
        """Give every item the blocks it lacks, and keep them until `end_step`: the step may be paused meanwhile."""
        for item in items:
            sequence = item.sequence
            sequence.block_ids += self._take(num_new_blocks(sequence, item.end, self.pool.block_size))
            if sequence in self.waiting:
                del self.waiting[sequence]
                self.running[sequence] = None
            self.in_step[sequence] = None

    def end_step(self, items: Iterable[ScheduledSequence]) -> None:
        """Free the blocks of sequences that were released while their step ran."""
        for item in items:
            del self.in_step[item.sequence]
            if item.sequence not in self.owners:
                self._free_blocks(item.sequence)

    def when_there_is_room(self, watcher: object, callback: Callable[[], None]) -> None:
        """Call back once, the next time a sequence leaves, however often the same watcher asks until then."""
        self._room_watchers[watcher] = callback

    def _free_blocks(self, sequence: Sequence) -> None:
        self.pool.release(sequence.block_ids)
        sequence.block_ids = []
        if self.embeddings is not None:
            self.embeddings.release(sequence)
        if self.num_waiting or self.running:
            self.on_work()  # perhaps they lacked just these blocks
        watchers, self._room_watchers = self._room_watchers, {}
        for callback in watchers.values():
            callback()

    def _give_blocks(
        self, sequence: Sequence, num_tokens: int, max_cached_tokens: int, refuse: Refuse = never_refuse
    ) -> None:
        """Blocks for `num_tokens`, or the refusal of what the prefix cache has not.

        What it has is taken before anything is counted: it can be evicted no more, and the free blocks are without it.
        """
        prefix = self.pool.take_prefix(sequence.block_hashes, max_cached_tokens)
        num_blocks = self.pool.num_blocks_for(num_tokens) - len(prefix)
        if refusal := refuse(self.load, num_tokens - len(prefix) * self.pool.block_size, num_blocks):
            self.pool.release(prefix)
            raise refusal
        sequence.block_ids = prefix + self._take(num_blocks)
        count_prefix(sequence, len(prefix), self.pool)

    def _take(self, num_blocks: int) -> list[int]:
        block_ids = self.pool.allocate(num_blocks)
        assert block_ids is not None, "blocks were promised that are not there"
        return block_ids


def _num_pending_before(book: SequenceBook, deadline_s: float) -> int:
    """Tokens of prompts that are due by then, and of streams that are to be computed again."""
    prompts = chain((s for s in book.running if s.num_tokens_to_run > 1), book.waiting, book.preempted)
    due = (s for s in prompts if s.request.first_token_deadline_s <= deadline_s or s.num_output_tokens)
    return sum(sequence.num_tokens_to_run for sequence in due)
