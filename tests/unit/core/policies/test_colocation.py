"""Online and offline work on the same workers."""

from dataclasses import replace
from math import inf

import pytest

from penstock.core.policies.colocation import (
    Pull,
    StrictBound,
    StrictLoad,
    Work,
    choose_handovers,
    next_work,
    pull,
    saturated_batch_of,
    should_interrupt,
)
from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence


@pytest.mark.parametrize(
    ("layers", "flops_per_byte", "batch"),
    [
        # 2 * 1000 * 1000 n >= R * 2 * (2000 n + 10^6): R = 100: 1.6e6 n >= 2e8
        ([(1000, 1000)], 100.0, 125),
        ([(1000, 1000), (4000, 4000)], 100.0, 125),  # the hardest layer decides
        ([(4000, 4000)], 100.0, 106),  # 2 * 16e6 n >= 200 (8000 n + 16e6): 30.4e6 n >= 3.2e9
        ([(100, 100)], 100.0, inf),  # too narrow ever to be bound by compute
        ([], 100.0, 1),
    ],
)
def test_the_saturated_batch_is_at_the_ridge(
    layers: list[tuple[int, int]], flops_per_byte: float, batch: float
) -> None:
    assert saturated_batch_of(layers, flops_per_byte) == batch
    if layers and batch != inf:

        def intensity(num: float, shape: tuple[int, int]) -> float:
            i, o = shape
            return 2 * i * o * num / (2 * (num * i + i * o + num * o))

        assert min(intensity(batch, shape) for shape in layers) >= flops_per_byte
        assert min(intensity(batch - 1, shape) for shape in layers) < flops_per_byte


@pytest.mark.parametrize(
    ("num_online", "num_offline", "num_decodes", "work"),
    [
        (1, 5, 200, Work.ONLINE_PREFILL),
        (0, 5, 99, Work.OFFLINE_PREFILL),
        (0, 5, 100, Work.OFFLINE_DECODE),
        (0, 0, 1, Work.OFFLINE_DECODE),
        (0, 5, 0, Work.OFFLINE_PREFILL),
        (0, 0, 0, None),
    ],
)
def test_a_relaxed_worker_prefers_online_and_fills_offline_up_to_saturation(
    num_online: int, num_offline: int, num_decodes: int, work: Work | None
) -> None:
    assert next_work(num_online, num_offline, num_decodes, saturated_batch=100) is work


@pytest.mark.parametrize(
    ("running", "num_online", "interrupts"),
    [
        (Work.OFFLINE_PREFILL, 1, True),
        (Work.OFFLINE_DECODE, 1, True),
        (Work.OFFLINE_PREFILL, 0, False),
        (Work.ONLINE_PREFILL, 3, False),
    ],
)
def test_online_work_interrupts_offline_work_only(running: Work, num_online: int, interrupts: bool) -> None:
    assert should_interrupt(running, num_online) is interrupts


COST = StepCost(0.0, 0.0, 0.0, 0.010, 1e-6, 0.0001)  # 10 ms, 1 us per context token, 0.1 ms per sequence
BOUND = StrictBound(tpot_slo_s=0.050, saturated_batch=100)
LOAD = StrictLoad(
    num_sequences=60, num_context_tokens=10_000, num_free_tokens=50_000, num_kv_tokens=100_000, last_step_s=0.026
)


@pytest.mark.parametrize(
    ("case", "load", "wish"),
    [
        # 0.050 - (0.010 + 100 * 0.0001 + 0.010) = 0.020 s for 40 more sequences: 500 tokens each
        ("room", LOAD, Pull(50_000, 500)),
        ("saturated: one more, 0.050 - 0.0301 = 0.0199 s", replace(LOAD, num_sequences=100), Pull(50_000, 19_900)),
        ("never longer than memory", replace(LOAD, num_sequences=100, num_free_tokens=11_000), Pull(11_000, 11_000)),
        ("memory nine tenths full", replace(LOAD, num_free_tokens=10_000), None),
        ("step over nine tenths of the objective", replace(LOAD, last_step_s=0.0451), None),
        ("no time for as many", replace(LOAD, num_context_tokens=30_000), None),
    ],
)
def test_a_strict_worker_asks_for_what_fits_best(case: str, load: StrictLoad, wish: Pull | None) -> None:
    found = pull(load, COST, BOUND)
    if found is None or wish is None:
        assert found is wish, case
        return
    assert found.max_tokens == wish.max_tokens
    assert found.preferred_tokens == pytest.approx(wish.preferred_tokens, abs=1), case


def offline(num_tokens: int, arrived_s: float = 0.0) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams(), priority=-1)
    return Sequence(request, list(range(num_tokens)), arrived_s)


@pytest.mark.parametrize(
    ("lengths", "wish", "max_sequences", "handed_over"),
    [
        ([100, 480, 900], Pull(5000, 500), 1, [480]),
        ([100, 480, 900], Pull(5000, 500), 2, [480, 100]),  # 400 either way: the first to arrive
        ([100, 480, 900], Pull(1000, 500), 3, [480, 100]),
        ([6000], Pull(5000, 5000), 1, []),
        ([], Pull(5000, 500), 1, []),
    ],
)
def test_hands_over_the_closest_lengths_that_fit(
    lengths: list[int], wish: Pull, max_sequences: int, handed_over: list[int]
) -> None:
    waiting = [offline(length, float(index)) for index, length in enumerate(lengths)]
    assert [s.num_tokens for s in choose_handovers(waiting, wish, max_sequences)] == handed_over
