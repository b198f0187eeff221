"""Who of a worker's sequences is on the device, when they are more than fit; the KV of the others waits on the host.

The decisions are `policies.victims` (who), `policies.swap` (what is copied, and whether computing anew is cheaper) and
`policies.block_groups` (in how many pieces). A sequence is in one place at a time:

    running --swap out--> leaving --copied--> book.preempted --swap in--> coming --copied--> running
                                                   '--nothing worth copying--> waiting, computed like a prompt

Copies go on beside the steps (asynchronous), or the device stands still for them. Only the simulator has a host store.
"""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.policies.block_groups import groups_of
from penstock.core.policies.swap import ResumeBy, SwapCost, blocks_to_swap_out, resume_by
from penstock.core.policies.victims import choose_residents
from penstock.core.sequences import SequenceBook
from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence


@dataclass(frozen=True, slots=True)
class SwapRules:
    """How KV moves between device and host: FastSwitch's three ideas, and one of ours, each of which can be off."""

    cost: SwapCost
    token_bytes: int
    is_grouped: bool = True  # contiguous blocks in one copy, instead of a copy for each block
    is_incremental: bool = True  # what the host has already is not copied again
    is_asynchronous: bool = True
    may_recompute: bool = True  # compute anew what is faster computed than copied


class Residency:
    """Moves the sequences of one book. `num_bytes` counts what was copied, in either direction."""

    def __init__(self, book: SequenceBook, rules: SwapRules, predict: Callable[[], StepCost]) -> None:
        self.num_bytes = 0
        self.num_swaps = 0
        self._book = book
        self._rules = rules
        self._predict = predict
        self._num_valid: dict[Sequence, int] = {}  # leading tokens of which the host has a copy
        self._leaving: list[tuple[float, Sequence, list[int]]] = []  # until when, whose blocks
        self._coming: list[tuple[float, Sequence]] = []
        self._stall_s = 0.0
        book.oversubscribes = True

    @property
    def next_end_s(self) -> float | None:
        """When the first of the copies under way ends."""
        ends_s = [copy[0] for copy in self._leaving] + [copy[0] for copy in self._coming]
        return min(ends_s, default=None)

    def take_stall_s(self) -> float:
        """How long the device must stand still before its next step."""
        stall_s, self._stall_s = self._stall_s, 0.0
        return stall_s

    def settle(self) -> None:
        """End the copies that are over; then let those come who deserve it, in place of those who do not."""
        self._end_copies()
        book = self._book
        for sequence in [sequence for sequence in self._num_valid if sequence not in book.owners]:
            del self._num_valid[sequence]
        if not book.preempted and book.pool.num_free >= len(book.running):
            return
        on_device = [s for s in book.running if s not in book.in_step]
        num_blocks = book.pool.num_free + sum(len(sequence.block_ids) for sequence in on_device)
        num_blocks += sum(len(block_ids) for _, _, block_ids in self._leaving)  # free before long
        residents = choose_residents([*on_device, *book.preempted], num_blocks, book.pool.block_size)
        staying = set(residents)
        for sequence in on_device:
            if sequence not in staying and not sequence.is_prefill_only:
                self.swap_out(sequence)
        for sequence in residents:
            if sequence in book.preempted and not self._swap_in(sequence):
                break

    def swap_out(self, sequence: Sequence) -> None:
        """Copy to the host what it lacks; the blocks are free when that is done."""
        book, rules = self._book, self._rules
        num_valid = self._num_valid.get(sequence, 0) if rules.is_incremental else 0
        copied = blocks_to_swap_out(sequence.num_computed_tokens, num_valid, book.pool.block_size)
        seconds = self._copy_s([sequence.block_ids[index] for index in copied])
        self._num_valid[sequence] = sequence.num_computed_tokens
        self._leaving.append((self._ends_s(seconds), sequence, _detach(book, sequence)))
        self.num_swaps += 1
        if not rules.is_asynchronous:
            self._end_copies()

    def _swap_in(self, sequence: Sequence) -> bool:
        """Whether there were blocks for it."""
        book, num_valid = self._book, self._num_valid.get(sequence, 0)
        num_blocks = book.pool.num_blocks_for(sequence.num_tokens + 1)
        if num_blocks > book.pool.num_free:
            return False
        if num_valid and self._rules.may_recompute:
            fastest_s = self._rules.cost.seconds(1, num_blocks * book.pool.block_size * self._rules.token_bytes)
            if resume_by(num_valid, fastest_s, self._predict()) is ResumeBy.RECOMPUTE:
                num_valid = 0
        if not num_valid:
            book.readmit_one(sequence)
            return True
        block_ids = _attach(book, sequence, num_blocks, num_valid)
        seconds = self._copy_s(block_ids[: book.pool.num_blocks_for(num_valid)])
        self._coming.append((self._ends_s(seconds), sequence))
        if not self._rules.is_asynchronous:
            self._end_copies()
        return True

    def _copy_s(self, block_ids: list[int]) -> float:
        num_pieces = len(groups_of(block_ids)) if self._rules.is_grouped else len(block_ids)
        num_bytes = len(block_ids) * self._book.pool.block_size * self._rules.token_bytes
        self.num_bytes += num_bytes
        return self._rules.cost.seconds(num_pieces, num_bytes)

    def _ends_s(self, seconds: float) -> float:
        """Beside the steps, or at once, and then the next step is so much later."""
        if self._rules.is_asynchronous:
            return self._book.now_s() + seconds
        self._stall_s += seconds
        return self._book.now_s()

    def _end_copies(self) -> None:
        book, now_s = self._book, self._book.now_s()
        left = [copy for copy in self._leaving if copy[0] <= now_s]
        self._leaving = [copy for copy in self._leaving if copy[0] > now_s]
        for _, sequence, block_ids in left:
            book.pool.release(block_ids)
            if not sequence.is_cancelled:
                book.preempted[sequence] = None
        come = [copy for copy in self._coming if copy[0] <= now_s]
        self._coming = [copy for copy in self._coming if copy[0] > now_s]
        for _, sequence in come:
            if not sequence.is_cancelled:
                book.running[sequence] = None


def _detach(book: SequenceBook, sequence: Sequence) -> list[int]:
    """Take a running sequence out of the steps; its blocks are the caller's, to release when they are copied."""
    del book.running[sequence]
    block_ids, sequence.block_ids = sequence.block_ids, []
    sequence.num_computed_tokens = sequence.num_hashed_blocks = 0
    return block_ids


def _attach(book: SequenceBook, sequence: Sequence, num_blocks: int, num_computed_tokens: int) -> list[int]:
    """Give a preempted sequence blocks for KV that is being copied into them; it is not running yet."""
    block_ids = book.pool.allocate(num_blocks)
    assert block_ids is not None, "blocks were counted before"
    del book.preempted[sequence]
    sequence.block_ids, sequence.num_computed_tokens = block_ids, num_computed_tokens
    return block_ids
