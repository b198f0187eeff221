"""Which tokens the next step runs.

Stall-free batching after Sarathi-Serve (OSDI'24): every decode runs in every step, and what is left of the token budget
goes to prompts, cut into chunks, so that a long prompt never makes running streams wait. Sequences are taken in the
order given; the caller puts them in the order it wants served and kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.core.types import ScheduledSequence, Sequence


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Most tokens one step may run, and most sequences it may hold."""

    max_tokens: int = 2048
    max_sequences: int = 256


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What to run, and which running sequences must give their blocks back first (last of them first)."""

    items: tuple[ScheduledSequence, ...]
    preempted: tuple[Sequence, ...] = ()


def num_new_blocks(sequence: Sequence, end: int, block_size: int) -> int:
    """Blocks `sequence` still lacks to hold its tokens up to `end`."""
    return max(0, -(-end // block_size) - len(sequence.block_ids))


def plan_batch(
    running: Iterable[Sequence],
    waiting: Iterable[Sequence],
    limits: BatchLimits,
    num_free_blocks: int,
    block_size: int,
) -> BatchPlan:
    """Decodes first, then prompts under way, then `waiting`, while tokens, places and blocks last.

    `waiting` may name prompts under way, to say where among the new ones they come. When running sequences lack blocks
    for their next token, the last of them give theirs back until the others fit: they have the least to lose, and the
    first always makes progress. Nothing waiting starts in such a step. Blocks shared with others count as given back
    here: whoever preempts plans again, with what really came free. A prompt runs up to its first image that is still
    being encoded.
    """
    kept, preempted = _make_room(running, num_free_blocks, block_size)
    num_free_blocks += sum(len(sequence.block_ids) for sequence in preempted)
    items: list[ScheduledSequence] = []
    num_tokens = 0
    num_places = 0 if preempted else limits.max_sequences - len(kept)
    has_place = set(kept)
    for sequence in _in_turn(kept, waiting):
        if num_tokens >= limits.max_tokens:
            break
        chunk = min(sequence.num_runnable_tokens, limits.max_tokens - num_tokens)
        if chunk <= 0:  # its next image is being encoded
            continue
        is_new = sequence not in has_place
        # what starts needs blocks for its whole prompt, or else prompts half done would stand in each other's way
        end = sequence.num_tokens if is_new else sequence.num_computed_tokens + chunk
        # num_new_blocks, without the call: every item of every step passes here
        needed = max(0, -(-end // block_size) - len(sequence.block_ids))
        if is_new and (num_places <= 0 or needed > num_free_blocks):
            num_places = 0  # nobody passes who lacks blocks
        elif needed <= num_free_blocks:
            items.append(ScheduledSequence(sequence, sequence.num_computed_tokens, chunk))
            num_tokens, num_free_blocks, num_places = num_tokens + chunk, num_free_blocks - needed, num_places - is_new
    return BatchPlan(tuple(items), preempted)


def _in_turn(kept: list[Sequence], waiting: Iterable[Sequence]) -> Iterable[Sequence]:
    prompts = tuple(waiting)
    if prompts:
        named = set(prompts)
        kept = [sequence for sequence in kept if sequence not in named]
    return (*sorted(kept, key=lambda sequence: sequence.num_tokens_to_run > 1), *prompts)


def _make_room(
    running: Iterable[Sequence], num_free_blocks: int, block_size: int
) -> tuple[list[Sequence], tuple[Sequence, ...]]:
    """Split running sequences into those whose next token has a block, and the latest ones that must make room.

    A sequence whose KV is being pushed elsewhere is never a victim: its blocks are being read.
    """
    kept = list(running)
    if len(kept) <= num_free_blocks:  # what runs has blocks for its computed tokens, and so lacks one at most
        return kept, ()
    preempted: list[Sequence] = []
    needed = sum(num_new_blocks(sequence, sequence.num_computed_tokens + 1, block_size) for sequence in kept)
    for victim in reversed(kept[1:]):
        if needed <= num_free_blocks:
            break
        if victim.is_prefill_only:
            continue
        needed -= num_new_blocks(victim, victim.num_computed_tokens + 1, block_size)
        num_free_blocks += len(victim.block_ids)
        kept.remove(victim)
        preempted.append(victim)
    return kept, tuple(preempted)
