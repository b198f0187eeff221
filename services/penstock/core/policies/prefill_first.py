"""Whether the next step runs prompts or decodes, never both: vLLM's schedule before chunked prefill. A baseline.

Whole prompts first, as many as fit; running streams stall meanwhile. This is the "vLLM" that Sarathi-Serve
(arXiv 2403.02310, section 3) and DistServe (arXiv 2401.09670, section 2) compare with: best TTFT and throughput, at
the price of token intervals as long as the prompts that arrive.

    waiting prompts fit (tokens, places, blocks)  ->  only they run, each whole
    else                                          ->  only what runs already, one token each
"""

from collections.abc import Iterable

from penstock.core.step_choice import StepChoice, num_lacking_blocks
from penstock.core.types import Sequence


def choose(
    running: Iterable[Sequence],
    waiting: Iterable[Sequence],
    max_tokens: int,
    max_sequences: int,
    num_free_blocks: int,
    block_size: int,
) -> StepChoice:
    """Prompts of at most `max_tokens` together, in the order given; the first that does not fit ends the list.

    A prompt longer than `max_tokens` runs alone, whole. Prompts already under way (a flip, a resumption) count as
    waiting ones that have their place. Every running sequence's next block is kept free, so that letting a prompt in
    preempts nobody.
    """
    running = tuple(running)
    under_way = tuple(sequence for sequence in running if sequence.num_tokens_to_run > 1 and sequence.is_runnable)
    num_places = max_sequences - len(running)
    num_free_blocks -= len(running)
    started: list[Sequence] = []
    num_tokens = sum(sequence.num_tokens_to_run for sequence in under_way)
    for sequence in waiting:
        num_blocks = num_lacking_blocks(sequence, block_size)
        is_first = not num_tokens
        has_tokens = is_first or num_tokens + sequence.num_tokens_to_run <= max_tokens
        if not has_tokens or num_places <= 0 or (num_blocks and num_blocks > num_free_blocks):
            break
        started.append(sequence)
        num_tokens += sequence.num_tokens_to_run
        num_places, num_free_blocks = num_places - 1, num_free_blocks - num_blocks
    if started or under_way:
        return StepChoice(under_way, tuple(started), max(max_tokens, num_tokens))
    return StepChoice(running, (), max(max_tokens, len(running)))
