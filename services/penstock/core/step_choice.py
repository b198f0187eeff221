"""Who may take part in the next step, for policies that decide that and leave the rest to `policies.batching`.

choice = prefill_first.choose(...)                      who
plan_batch(choice.running, choice.waiting,              how many tokens of each, and who must make room
           BatchLimits(choice.max_tokens, ...), ...)
"""

from dataclasses import dataclass

from penstock.core.types import Sequence


@dataclass(frozen=True, slots=True)
class StepChoice:
    """What batching is given in place of everything that runs and waits. `max_tokens` counts decodes too."""

    running: tuple[Sequence, ...]
    waiting: tuple[Sequence, ...]
    max_tokens: int


def num_lacking_blocks(sequence: Sequence, block_size: int) -> int:
    """Blocks `sequence` still lacks to hold all its known tokens."""
    return max(0, -(-sequence.num_tokens // block_size) - len(sequence.block_ids))
