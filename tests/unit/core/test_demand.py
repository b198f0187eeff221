"""What recent requests were like."""

import pytest

from penstock.core.demand import Demand, DemandMeter
from penstock.core.types import GatewayLoad


def test_nothing_is_known_at_first() -> None:
    assert DemandMeter().demand(3) == Demand(num_waiting=3)


def test_means_follow_a_change_within_its_memory() -> None:
    meter = DemandMeter(memory=50)
    for _ in range(200):
        meter.arrived(1000)
        meter.finished(10, 0.5, 1.0)
    for _ in range(200):
        meter.arrived(100)
        meter.finished(400, 0.1, 4.0)
    demand = meter.demand()
    assert demand.num_prompt_tokens == pytest.approx(100, rel=0.2)
    assert demand.num_output_tokens == pytest.approx(400, rel=0.05)
    assert demand.ttft_share == pytest.approx(0.1 / 4.0, rel=0.2)


def test_the_meter_forgets_slowly_and_knows_nothing_at_first() -> None:
    meter = DemandMeter(memory=10)
    assert meter.demand() == Demand()
    for _ in range(100):
        meter.arrived(1000)
        meter.finished(10, 0.2, 1.0)
    for _ in range(10):
        meter.arrived(2000)
    demand = meter.demand(num_waiting=3)
    assert 1500 < demand.num_prompt_tokens < 1800
    assert demand.num_output_tokens == pytest.approx(10)
    assert demand.ttft_share == pytest.approx(0.2)
    assert demand.num_waiting == 3


def test_many_at_once_weigh_as_much_as_one_by_one() -> None:
    one_by_one, at_once = DemandMeter(), DemandMeter()
    for meter in (one_by_one, at_once):
        meter.arrived(500)
        meter.finished(50, 1.0, 2.0)
    for _ in range(300):
        one_by_one.arrived(20)
        one_by_one.finished(5, 0.25, 0.5)
    at_once.arrived(20, count=300)
    at_once.finished(5, 0.25, 0.5, count=300)
    before, after = one_by_one.demand(), at_once.demand()
    assert before.num_prompt_tokens == pytest.approx(after.num_prompt_tokens)
    assert before.num_output_tokens == pytest.approx(after.num_output_tokens)
    assert before.ttft_share == pytest.approx(after.ttft_share)


def test_of_a_gateways_growing_sums_what_is_new_counts() -> None:
    meter = DemandMeter()
    first = GatewayLoad(num_arrived=2, num_prompt_tokens=200, num_finished=1, num_output_tokens=8, e2e_sum_s=2.0)
    meter.told(GatewayLoad(), first)
    meter.told(first, first)
    later = GatewayLoad(num_arrived=4, num_prompt_tokens=800, num_finished=1, num_output_tokens=8, e2e_sum_s=2.0)
    meter.told(first, later)
    assert meter.demand().num_prompt_tokens == pytest.approx(200, rel=0.01)  # two of 100 and two of 300
    assert meter.demand().num_output_tokens == 8


def test_a_gateway_that_began_anew_is_counted_from_nothing() -> None:
    meter = DemandMeter()
    meter.told(GatewayLoad(num_arrived=100, num_prompt_tokens=10_000), GatewayLoad(num_arrived=1, num_prompt_tokens=50))
    assert meter.demand().num_prompt_tokens == 50
