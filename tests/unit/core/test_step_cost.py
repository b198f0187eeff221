"""The fitted iteration model, against published coefficients and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.step_cost import StepCost

SIMPLE = StepCost(10.0, 1.0, 0.1, 5.0, 0.01, 2.0)
OPT_13B = StepCost(18.10e-3, 0.10191e-3, 7.122e-9, 19.93e-3, 6.269e-7, 0.03851e-3)  # DistServe, A100, TP 1

counts = st.integers(0, 5000)


@pytest.mark.parametrize(
    ("num_tokens", "num_computed", "seconds"),
    [(0, 0, 0.0), (1, 0, 11.1), (10, 0, 30.0), (10, 20, 70.0), (30, 0, 130.0)],
)
def test_prefill_is_linear_work_and_what_is_left_of_a_square(
    num_tokens: int, num_computed: int, seconds: float
) -> None:
    assert SIMPLE.prefill_s(num_tokens, num_computed) == pytest.approx(seconds)


@pytest.mark.parametrize(("num_sequences", "num_context", "seconds"), [(0, 0, 0.0), (1, 100, 8.0), (4, 1000, 23.0)])
def test_decode_pays_for_sequences_and_for_context(num_sequences: int, num_context: int, seconds: float) -> None:
    assert SIMPLE.decode_s(num_sequences, num_context) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("chunks", "num_decodes", "num_context", "seconds"),
    [
        ([], 0, 0, 0.0),
        ([], 4, 1000, 23.0),  # decode_s
        ([(20, 10)], 0, 0, 70.0),  # prefill_s
        ([(0, 10), (0, 10)], 0, 0, 10 + 20 + 20),  # one base, attention apart
        ([(0, 10)], 4, 1000, 10 + 14 + 10 + 10),  # the prompt's linear work hides that of the decodes
        ([(0, 1)], 8, 1000, 5 + 16 + 0.1 + 10),  # and the other way round
    ],
)
def test_a_mixed_step_reads_the_weights_once(
    chunks: list[tuple[int, int]], num_decodes: int, num_context: int, seconds: float
) -> None:
    assert SIMPLE.step_s(chunks, num_decodes, num_context) == pytest.approx(seconds)


def test_agrees_with_the_estimator_the_coefficients_come_from() -> None:
    assert OPT_13B.prefill_s(512) == pytest.approx((18.10 + 0.10191 * 512 + 7.122e-6 * 512**2) / 1e3)
    assert OPT_13B.decode_s(32, 32 * 544) == pytest.approx((19.93 + 6.269e-4 * 32 * 544 + 0.03851 * 32) / 1e3)


@given(counts, counts)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_chunks_cost_the_whole_and_one_more_base(first: int, second: int) -> None:
    whole_s = SIMPLE.prefill_s(first + second)
    chunked_s = SIMPLE.prefill_s(first) + SIMPLE.prefill_s(second, first)
    num_bases = (first > 0) + (second > 0) - (first + second > 0)
    assert chunked_s == pytest.approx(whole_s + num_bases * SIMPLE.prefill_base_s)
