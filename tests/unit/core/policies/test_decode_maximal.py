"""One chunk, and every decode along with it."""

import pytest

from penstock.core.policies.batching import BatchLimits, plan_batch
from penstock.core.policies.decode_maximal import balanced_step_tokens, choose
from penstock.core.types import Request, SamplingParams, Sequence

BLOCK = 16


def prompt(num_tokens: int, num_computed: int = 0, num_blocks: int | None = None) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams())
    held = -(-num_tokens // BLOCK) if num_blocks is None else num_blocks
    return Sequence(request, list(range(num_tokens)), 0.0, list(range(held)), num_computed)


def decoding(num_tokens: int) -> Sequence:
    return prompt(num_tokens, num_tokens - 1)


@pytest.mark.parametrize(
    ("case", "running", "waiting", "num_free", "planned"),
    [
        # planned by batching from the choice: (who, num_tokens), steps of 32 tokens and 4 sequences
        ("nothing", [], [], 9, []),
        ("a prompt alone", [], [prompt(100)], 9, [(0, 32)]),
        ("decodes take part of the tile", [decoding(20), decoding(20)], [prompt(100)], 9, [(0, 1), (1, 1), (2, 30)]),
        ("one prompt only", [decoding(20)], [prompt(9), prompt(9)], 9, [(0, 1), (1, 9)]),
        ("the one under way", [prompt(60, 16), decoding(20)], [prompt(9)], 9, [(1, 1), (0, 31)]),
        ("of two under way the oldest", [prompt(60, 16), prompt(60, 16)], [], 9, [(0, 32)]),
        ("no place", [decoding(20)] * 4, [prompt(9)], 9, [(0, 1), (1, 1), (2, 1), (3, 1)]),
        ("no blocks", [decoding(20)], [prompt(33, num_blocks=0)], 3, [(0, 1)]),
        ("blocks", [decoding(20)], [prompt(33, num_blocks=0)], 4, [(0, 1), (1, 31)]),
    ],
)
def test_a_step_has_all_decodes_and_one_chunk(
    case: str, running: list[Sequence], waiting: list[Sequence], num_free: int, planned: list[tuple[int, int]]
) -> None:
    running = [decoding(20) if sequence.num_tokens_to_run == 1 else sequence for sequence in running]
    choice = choose(running, waiting, 32, 4, num_free, BLOCK)
    plan = plan_batch(choice.running, choice.waiting, BatchLimits(choice.max_tokens, 4), num_free, BLOCK)
    everyone = running + waiting
    assert [(everyone.index(item.sequence), item.num_tokens) for item in plan.items] == planned, case


@pytest.mark.parametrize(
    ("num_prompt", "num_output", "max_sequences", "tokens"),
    [(1024, 64, 17, 256), (980, 40, 18, 384), (100, 100, 2, 128), (14, 1, 19, 256)],
)
def test_balance_is_the_ratio_of_lengths_times_the_other_places(
    num_prompt: int, num_output: int, max_sequences: int, tokens: int
) -> None:
    assert balanced_step_tokens(num_prompt, num_output, max_sequences) == tokens
