"""Who joins a decode batch under a TPOT bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.decode_admission import DecodeBound, DecodeRoom, admit
from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence

COST = StepCost(0.0, 0.0, 0.0, 0.010, 1e-6, 0.001)  # 10 ms, 1 ms per sequence, 1 us per context token
BOUND = DecodeBound(tpot_slo_s=0.050, slo_fraction=1.0, max_sequences=30)
EMPTY = DecodeRoom(0, 0, 1000)


def sequence(num_tokens: int, priority: int = 0, num_blocks: int = 0) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams(), priority=priority)
    return Sequence(request, list(range(num_tokens)), 0.0, list(range(num_blocks)))


@pytest.mark.parametrize(
    ("case", "waiting", "room", "bound", "admitted"),
    [
        # admitted: (num_tokens, priority)
        ("nothing waits", [], EMPTY, BOUND, []),
        ("0.010 + 10 * 0.001 + 0.030 = 0.050 s", [(2000, 0)], DecodeRoom(9, 28_000, 1000), BOUND, [(2000, 0)]),
        ("one token more", [(2001, 0)], DecodeRoom(9, 28_000, 1000), BOUND, []),
        (
            "two of 15000 are 0.042 s, three 0.058 s",
            [(15_000, 0)] * 3,
            DecodeRoom(0, 0, 9999),
            BOUND,
            [(15_000, 0)] * 2,
        ),
        ("an empty batch always takes one", [(90_000, 0)] * 2, DecodeRoom(0, 0, 9999), BOUND, [(90_000, 0)]),
        ("2 % are left free", [(2000, 0)], DecodeRoom(9, 28_000, 1000), DecodeBound(0.050), []),
        ("places", [(16, 0)] * 3, DecodeRoom(28, 0, 1000), BOUND, [(16, 0)] * 2),
        ("blocks, one of headroom for each", [(16, 0)] * 3, DecodeRoom(2, 0, 7), BOUND, [(16, 0)] * 2),
        ("online before offline", [(16, -1), (32, 0), (48, 1)], EMPTY, BOUND, [(32, 0), (48, 1), (16, -1)]),
        ("offline takes nothing that online waits for", [(16, -1), (90_000, 0)], DecodeRoom(1, 9, 9999), BOUND, []),
        ("nobody is passed", [(90_000, 0), (16, 0)], DecodeRoom(1, 9, 9999), BOUND, []),
    ],
)
def test_admits(
    case: str,
    waiting: list[tuple[int, int]],
    room: DecodeRoom,
    bound: DecodeBound,
    admitted: list[tuple[int, int]],
) -> None:
    joined = admit([sequence(*each) for each in waiting], room, COST, bound)
    assert [(each.num_tokens, each.request.priority) for each in joined] == admitted, case


def test_blocks_held_already_are_not_needed_again() -> None:
    assert admit([sequence(64, num_blocks=4)], DecodeRoom(0, 0, 1), COST, BOUND)
    assert not admit([sequence(64, num_blocks=3)], DecodeRoom(0, 0, 1), COST, BOUND)


@given(st.lists(st.integers(1, 20_000), max_size=40), st.integers(1, 20), st.integers(0, 30_000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_bound_holds_for_whatever_is_admitted(lengths: list[int], num_running: int, num_context: int) -> None:
    room = DecodeRoom(num_running, num_context, 3000)
    joined = admit([sequence(length) for length in lengths], room, COST, BOUND)
    if joined:
        total = num_context + sum(each.num_tokens for each in joined)
        assert COST.decode_s(num_running + len(joined), total) <= BOUND.tpot_slo_s
        assert sum(-(-each.num_tokens // 16) for each in joined) + num_running + len(joined) <= 3000
