"""When a sequence ends, as a table."""

import pytest

from penstock.core.types import FinishReason, Request, SamplingParams, Sequence
from penstock.engine.finish import finish_reason

EOS, STOP_ID, OTHER = 2, 50, 7
STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH


@pytest.mark.parametrize(
    ("params", "output", "max_context", "reason"),
    [
        ({}, [OTHER], 100, None),
        ({}, [OTHER, EOS], 100, STOP),
        ({}, [EOS, OTHER], 100, None),  # only the last token counts
        ({"ignore_eos": True}, [EOS], 100, None),
        ({"ignore_eos": True, "stop_token_ids": (EOS,)}, [EOS], 100, STOP),  # asked for by id
        ({"stop_token_ids": (STOP_ID,)}, [STOP_ID], 100, STOP),
        ({"stop_token_ids": (STOP_ID,), "ignore_eos": True}, [STOP_ID], 100, STOP),
        ({"min_tokens": 2}, [EOS], 100, None),
        ({"min_tokens": 2}, [OTHER, EOS], 100, None),
        ({"min_tokens": 2}, [OTHER, OTHER, EOS], 100, STOP),  # two came before it
        ({"min_tokens": 2, "stop_token_ids": (STOP_ID,)}, [STOP_ID], 100, None),
        ({"max_tokens": 3}, [OTHER] * 2, 100, None),
        ({"max_tokens": 3}, [OTHER] * 3, 100, LENGTH),
        ({"max_tokens": 3}, [OTHER, OTHER, EOS], 100, STOP),  # the better reason
        ({"max_tokens": 3, "min_tokens": 3}, [OTHER, OTHER, EOS], 100, LENGTH),
        ({"max_tokens": 90}, [OTHER] * 5, 10, LENGTH),  # five prompt tokens
        ({"max_tokens": 90}, [OTHER] * 4, 10, None),
        ({"max_tokens": 90, "min_tokens": 80}, [OTHER] * 5, 10, LENGTH),
    ],
)
def test_finish_reason(
    params: dict[str, int], output: list[int], max_context: int, reason: FinishReason | None
) -> None:
    prompt = [1, 2, 3, 4, 5]
    request = Request("r", 0, "g", 0, prompt, SamplingParams(**{"max_tokens": 16, **params}))  # type: ignore[arg-type]
    sequence = Sequence(request, prompt + output, 0.0)
    assert finish_reason(sequence, frozenset({EOS}), max_context) is reason


def test_tokens_of_earlier_attempts_count() -> None:
    request = Request("r", 1, "g", 0, [1, 2], SamplingParams(max_tokens=3), output_token_ids=[7, 7])
    assert finish_reason(Sequence(request, [1, 2, 7, 7, 7], 0.0), frozenset(), 100) is LENGTH
