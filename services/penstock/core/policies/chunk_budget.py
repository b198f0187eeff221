"""How many tokens the next step may run, so that no running stream's next token comes late.

Sarathi-Serve (OSDI'24, arXiv 2403.02310) sets one budget by profiling: the most tokens per step that keep the P99 time
between tokens under its objective (512 strict, 2048 relaxed), in whole tiles, for a chunk of 257 tokens runs up to 32 %
longer than one of 256. Here the same question is asked anew before every step, with the decodes that really run:

    budget = max { t : T_step(t - num_decodes prompt tokens, decodes) <= slack },  rounded down to a tile   [tokens]
    slack  = min over decodes of (when its next token is due - now)                                        [s]

With the objective as slack and a nominal batch as decodes it is the paper's offline budget; with real slack a stream
that is ahead of its objective lends its lead to the prompts.
"""

from dataclasses import dataclass

from penstock.core.step_cost import StepCost


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """`min_tokens` of prompt pass even when decodes are late already, so that prompts always make progress."""

    min_tokens: int = 128
    max_tokens: int = 2048
    tile_tokens: int = 128


@dataclass(frozen=True, slots=True)
class DecodeLoad:
    """The decodes of the next step. `slack_s` is that of the most urgent of them."""

    num_sequences: int
    num_context_tokens: int
    slack_s: float


def token_budget(load: DecodeLoad, cost: StepCost, limits: BudgetLimits, num_computed_tokens: int = 0) -> int:
    """Most tokens of a step, decodes included, that ends within the slack.

    `num_computed_tokens` is how far the prompt to be chunked has come: later chunks attend to more and so are shorter.
    """
    num_decodes = load.num_sequences
    least = num_decodes + limits.min_tokens
    if num_decodes == 0:
        return max(least, limits.max_tokens)

    def is_in_time(num_tokens: int) -> bool:
        chunks = [(num_computed_tokens, num_tokens - num_decodes)]
        return cost.step_s(chunks, num_decodes, load.num_context_tokens) <= load.slack_s

    tile = limits.tile_tokens
    low, high = 0, limits.max_tokens // tile  # in tiles: low is in time or too few to hold the least, high unknown
    while low < high:
        middle = (low + high + 1) // 2
        if middle * tile <= num_decodes or is_in_time(middle * tile):
            low = middle
        else:
            high = middle - 1
    return max(least, low * tile)


def next_token_slack_s(first_token_s: float, num_output_tokens: int, tpot_slo_s: float, now_s: float) -> float:
    """Time until the next token is due, when token i is due i * TPOT after the first: tokens ahead of it earn slack.

    `num_output_tokens` tokens have come so far, the first at `first_token_s`.
    """
    return first_token_s + num_output_tokens * tpot_slo_s - now_s
