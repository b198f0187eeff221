"""Pipeline parallelism: decode gains throughput but no latency, a prompt gains less than its number of stages."""

import pytest

from penstock.core.step_cost import StepCost
from penstock.simulator.pipelined import Pipelined

WHOLE = StepCost(0.010, 1e-4, 0.0, 0.010, 1e-6, 1e-4)


def test_a_prompt_is_faster_than_on_one_stage_but_not_twice_as_fast() -> None:
    alone_s, both_s = WHOLE.step_s([(0, 4000)]), Pipelined(WHOLE, 2).step_s([(0, 4000)])
    assert alone_s / 2 < both_s < alone_s


def test_a_decode_step_is_that_of_its_share_of_the_batch() -> None:
    pipelined_s = Pipelined(WHOLE, 2).decode_s(64, 64_000)
    assert pipelined_s == pytest.approx(WHOLE.decode_s(32, 32_000), abs=1e-3)
    assert pipelined_s < WHOLE.decode_s(64, 64_000)


def test_chunks_of_a_step_cover_the_prompt_once() -> None:
    quadratic = StepCost(0.0, 0.0, 1e-8, 0.0, 0.0, 0.0)
    whole_s = quadratic.step_s([(100, 1001)])
    stages_s = Pipelined(quadratic, 2).step_s([(100, 1001)])
    last_part_s = quadratic.step_s([(600, 501)])
    assert stages_s == pytest.approx(whole_s / 2 + last_part_s / 2, abs=2e-4)
