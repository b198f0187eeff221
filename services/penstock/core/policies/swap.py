"""What a context switch copies, whether anybody waits for it, and whether computing anew is cheaper.

FastSwitch (arXiv 2411.18424). The host's copy of a sequence stays valid after it is resumed and across turns, so a
switch copies the increment only, as few contiguous groups:

    |<- valid on the host ->|<- increment, copied now ->|          blocks of one sequence
    0 ................. num_valid ............. ceil(num_computed / block_size)

    copy      T = num_copies * t_copy + bytes / bandwidth                      [s]
    vLLM      num_copies = 2 * layers * blocks;   grouped: 2 * layers * groups
    resume    min(T of copying everything in, T_prefill(context))              (long-context roofline, arXiv 2405.08944)

A block that was not full when it was copied has grown since and is copied again.
"""

from dataclasses import dataclass
from enum import StrEnum

from penstock.core.step_cost import StepCost


class ResumeBy(StrEnum):
    """How a preempted sequence gets its KV back."""

    SWAP_IN = "swap_in"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True)
class SwapCost:
    """`copies_per_group` is 2 * layers for K and V apart per layer, 1 where the pool is block-major."""

    copy_s: float = 10e-6
    bytes_per_s: float = 25e9
    copies_per_group: int = 1

    def seconds(self, num_groups: int, num_bytes: int) -> float:
        """Time to copy `num_groups` contiguous runs of blocks."""
        return num_groups * self.copies_per_group * self.copy_s + num_bytes / self.bytes_per_s


def blocks_to_swap_out(num_computed_tokens: int, num_valid_tokens: int, block_size: int) -> range:
    """Which blocks of a sequence to copy out, when the host's copy of its first `num_valid_tokens` is intact."""
    num_blocks = -(-num_computed_tokens // block_size)
    if num_valid_tokens >= num_computed_tokens:
        return range(num_blocks, num_blocks)
    return range(num_valid_tokens // block_size, num_blocks)


def valid_tokens_after(num_valid_tokens: int, first_lost_block: int, block_size: int) -> int:
    """What stays valid once the host has given block `first_lost_block` of the copy to another sequence."""
    return min(num_valid_tokens, first_lost_block * block_size)


def resume_by(num_computed_tokens: int, swap_in_s: float, cost: StepCost) -> ResumeBy:
    """The faster way back for a sequence of `num_computed_tokens`. A tie copies: it leaves the device to others."""
    return ResumeBy.SWAP_IN if swap_in_s <= cost.prefill_s(num_computed_tokens) else ResumeBy.RECOMPUTE


def is_asynchronous(swap_s: float, step_s: float, num_running: int, num_swapping: int) -> bool:
    """Whether the batch goes on without the sequences that are being swapped in.

    Waiting costs every running sequence `swap_s`; going on costs each swapped one at most a step, for it joins at a
    step's end. FastSwitch adapts to the same two sides; its thresholds are not public, so this weighs token delays:
    asynchronous when num_running * swap_s > num_swapping * step_s.
    """
    return num_running * swap_s > num_swapping * step_s
