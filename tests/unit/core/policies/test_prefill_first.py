"""Prompts before decodes, never both."""

import pytest

from penstock.core.policies.batching import BatchLimits, plan_batch
from penstock.core.policies.prefill_first import choose
from penstock.core.types import Request, SamplingParams, Sequence

BLOCK = 16


def prompt(num_tokens: int, num_computed: int = 0, num_blocks: int | None = None) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams())
    held = -(-num_tokens // BLOCK) if num_blocks is None else num_blocks
    return Sequence(request, list(range(num_tokens)), 0.0, list(range(held)), num_computed)


def decoding(num_tokens: int) -> Sequence:
    return prompt(num_tokens, num_tokens - 1)


@pytest.mark.parametrize(
    ("case", "running", "waiting", "max_tokens", "max_sequences", "num_free", "chosen", "budget"),
    [
        # chosen: running are named 0, 1, ... and waiting go on after them
        ("nothing", [], [], 64, 8, 9, [], 64),
        ("decodes alone", [decoding(20), decoding(20)], [], 64, 8, 9, [0, 1], 64),
        ("prompts stall decodes", [decoding(20)], [prompt(30)], 64, 8, 9, [1], 64),
        ("prompts share a step", [], [prompt(30), prompt(34), prompt(1)], 64, 8, 9, [0, 1], 64),
        ("none is cut, none is passed", [], [prompt(30), prompt(40), prompt(1)], 64, 8, 9, [0], 64),
        ("too long a prompt runs alone", [decoding(20)], [prompt(100), prompt(1)], 64, 8, 9, [1], 100),
        ("no place: decodes go on", [decoding(20), decoding(20)], [prompt(9)], 64, 2, 9, [0, 1], 64),
        ("no blocks: decodes go on", [decoding(20)], [prompt(33, num_blocks=0)], 64, 8, 3, [0], 64),
        ("blocks, one of them kept for the decode", [decoding(20)], [prompt(33, num_blocks=0)], 64, 8, 4, [1], 64),
        ("blocks held already", [decoding(20)], [prompt(33)], 64, 8, 0, [1], 64),
        ("under way counts first", [prompt(60, 16), decoding(20)], [prompt(20), prompt(9)], 64, 8, 9, [0, 2], 64),
    ],
)
def test_chooses(
    *,
    case: str,
    running: list[Sequence],
    waiting: list[Sequence],
    max_tokens: int,
    max_sequences: int,
    num_free: int,
    chosen: list[int],
    budget: int,
) -> None:
    choice = choose(running, waiting, max_tokens, max_sequences, num_free, BLOCK)
    everyone = running + waiting
    assert [everyone.index(sequence) for sequence in choice.running + choice.waiting] == chosen, case
    assert choice.max_tokens == budget


def test_batching_runs_the_chosen_prompts_whole() -> None:
    running, waiting = [decoding(20)], [prompt(100), prompt(30)]
    choice = choose(running, waiting, 64, 8, 9, BLOCK)
    plan = plan_batch(choice.running, choice.waiting, BatchLimits(choice.max_tokens, 8), 9, BLOCK)
    assert [(item.sequence, item.num_tokens) for item in plan.items] == [(waiting[0], 100)]
