"""At once yes, or at once no with a reason."""

from dataclasses import replace
from typing import Any

import pytest

from penstock.core.errors import BlocksExhausted, Draining, QueueFull, Refused
from penstock.core.policies.admission import AdmissionLimits, WorkerLoad, refuse_prefill, refuse_reservation

IDLE = WorkerLoad(num_sequences=0, num_pending_tokens=0, num_free_blocks=100, num_decoding=0)
LIMITS = AdmissionLimits(max_sequences=8, max_pending_tokens=1000)


@pytest.mark.parametrize(
    ("changes", "num_tokens", "num_blocks", "refusal"),
    [
        ({}, 100, 7, None),
        ({}, 5000, 100, None),  # idle: any prompt that fits
        ({}, 5000, 101, BlocksExhausted),
        ({"num_pending_tokens": 1}, 999, 63, None),
        ({"num_pending_tokens": 1}, 1000, 63, QueueFull),
        ({"num_sequences": 7}, 100, 7, None),
        ({"num_sequences": 8}, 100, 7, QueueFull),
        ({"num_decoding": 93}, 100, 7, None),
        ({"num_decoding": 94}, 100, 7, BlocksExhausted),  # one block is kept for each that grows
        ({"is_draining": True}, 1, 1, Draining),
        ({"is_draining": True, "num_sequences": 8, "num_free_blocks": 0}, 1, 1, Draining),  # the reason that lasts
    ],
)
def test_prefill(changes: dict[str, Any], num_tokens: int, num_blocks: int, refusal: type[Refused] | None) -> None:
    answer = refuse_prefill(replace(IDLE, **changes), num_tokens, num_blocks, LIMITS)
    assert type(answer) is (refusal or type(None))


@pytest.mark.parametrize(
    ("changes", "num_blocks", "refusal"),
    [
        ({}, 100, None),
        ({}, 101, BlocksExhausted),
        ({"num_pending_tokens": 10_000}, 7, None),  # prompts do not stand in the way of a promise
        ({"num_sequences": 8}, 7, QueueFull),
        ({"num_decoding": 94}, 7, BlocksExhausted),
        ({"num_decoding": 200}, 1, BlocksExhausted),
        ({"num_decoding": 100}, 0, None),
        ({"is_draining": True}, 0, Draining),
    ],
)
def test_reservation(changes: dict[str, Any], num_blocks: int, refusal: type[Refused] | None) -> None:
    answer = refuse_reservation(replace(IDLE, **changes), num_blocks, LIMITS)
    assert type(answer) is (refusal or type(None))


def test_never_says_that_less_than_nothing_can_be_spared() -> None:
    refusal = refuse_reservation(replace(IDLE, num_free_blocks=1, num_decoding=5), 3, LIMITS)
    assert refusal is not None
    assert refusal.message == "3 blocks are needed and 0 can be spared."
