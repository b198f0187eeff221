"""Which one prompt a step carries beside its decodes: SARATHI's decode-maximal batch (arXiv 2308.16369).

A step holds exactly one prompt chunk, and every decode that has a place rides along for nearly nothing, because the
chunk already saturates the device:

    tokens of a step  C = chunk + num_decodes, a multiple of the matrix tile     [tokens]
    balance           P / D = C / (B - 1)                                        [1]

The second line counts: a prompt of P tokens makes P / C steps, each of which advances B - 1 decodes; that is one
answer of D tokens per prompt when P / C * (B - 1) = D.
"""

from collections.abc import Iterable

from penstock.core.step_choice import StepChoice, num_lacking_blocks
from penstock.core.types import Sequence


def choose(
    running: Iterable[Sequence],
    waiting: Iterable[Sequence],
    step_tokens: int,
    max_sequences: int,
    num_free_blocks: int,
    block_size: int,
) -> StepChoice:
    """Every running decode, and one prompt: the oldest under way, or else the first that waits, has place and blocks.

    Decodes count towards `step_tokens`, so that chunk and decodes together fill whole tiles.
    """
    running = tuple(running)
    decodes = tuple(sequence for sequence in running if sequence.num_tokens_to_run <= 1)
    max_tokens = max(step_tokens, len(decodes))
    for sequence in running:
        if sequence.num_tokens_to_run > 1:
            return StepChoice((*decodes, sequence), (), max_tokens)
    head = next(iter(waiting), None)
    if head is None or len(running) >= max_sequences:
        return StepChoice(decodes, (), max_tokens)
    num_blocks = num_lacking_blocks(head, block_size)
    if num_blocks and num_blocks > num_free_blocks - len(decodes):
        return StepChoice(decodes, (), max_tokens)
    return StepChoice(decodes, (head,), max_tokens)


def balanced_step_tokens(
    num_prompt_tokens: float, num_output_tokens: float, max_sequences: int, tile_tokens: int = 128
) -> int:
    """C = P / D * (B - 1) for mean lengths P and D and a batch of B sequences, in whole tiles, at least one."""
    balanced = num_prompt_tokens / num_output_tokens * (max_sequences - 1)
    return max(1, round(balanced / tile_tokens)) * tile_tokens
