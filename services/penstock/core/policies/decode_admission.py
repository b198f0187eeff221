"""Which waiting sequences join the decode batch without making its steps longer than the TPOT objective allows.

xLLM's decode side (technical report, arXiv 2510.14686, section 3.3): online sequences first, then offline ones, while

    T_decode(num_sequences, num_context_tokens) <= 0.98 * TPOT_SLO                                        [s]
    blocks for their KV, and one of headroom for every sequence that grows, are free

Offline sequences are those of negative priority. An empty batch always takes one: an objective that a single sequence
misses would otherwise never be served at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence


@dataclass(frozen=True, slots=True)
class DecodeBound:
    """What a decode step may take and hold."""

    tpot_slo_s: float
    slo_fraction: float = 0.98  # what the prediction may be wrong by is left free
    max_sequences: int = 256


@dataclass(frozen=True, slots=True)
class DecodeRoom:
    """What the batch holds already, and what memory is left."""

    num_sequences: int
    num_context_tokens: int
    num_free_blocks: int
    block_size: int = 16


def admit(waiting: Iterable[Sequence], room: DecodeRoom, cost: StepCost, bound: DecodeBound) -> tuple[Sequence, ...]:
    """Those of `waiting` that join, online before offline, each class in the order given.

    The first that does not fit ends the list: the long are not passed by the short for ever, and offline work never
    takes what online work waits for.
    """
    classes: tuple[list[Sequence], list[Sequence]] = ([], [])
    for sequence in waiting:
        classes[sequence.request.priority < 0].append(sequence)
    admitted: list[Sequence] = []
    for sequence in chain(*classes):
        room = _with(room, sequence)
        if not _is_kept(room, cost, bound):
            break
        admitted.append(sequence)
    return tuple(admitted)


def _with(room: DecodeRoom, sequence: Sequence) -> DecodeRoom:
    num_blocks = max(0, -(-sequence.num_tokens // room.block_size) - len(sequence.block_ids))
    return replace(
        room,
        num_sequences=room.num_sequences + 1,
        num_context_tokens=room.num_context_tokens + sequence.num_tokens,
        num_free_blocks=room.num_free_blocks - num_blocks,
    )


def _is_kept(room: DecodeRoom, cost: StepCost, bound: DecodeBound) -> bool:
    """Whether the bound holds for this batch and every sequence of it has a block to grow into."""
    if room.num_sequences > bound.max_sequences or room.num_free_blocks < room.num_sequences:
        return False
    step_s = cost.decode_s(room.num_sequences, room.num_context_tokens)
    return room.num_sequences == 1 or step_s <= bound.slo_fraction * bound.tpot_slo_s
