"""The same requests at any rate."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.policies.role_ratio import MeanRequest
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.workload import RequestSpec

SAMPLE = Traffic((RequestSpec(1.0, 100, 10, (1, 2)), RequestSpec(4.0, 300, 30, (1, 3))))


def test_a_rate_moves_requests_closer_and_keeps_their_bursts() -> None:
    assert SAMPLE.rate == 0.5
    assert [request.arrived_s for request in SAMPLE.at(5.0, 2)] == pytest.approx([0.1, 0.4])


def test_a_sample_that_is_too_short_repeats_without_sharing_its_prefixes() -> None:
    played = list(SAMPLE.at(0.5, 5))
    assert [request.arrived_s for request in played] == pytest.approx([1, 4, 5, 8, 9])
    assert [request.num_prompt_tokens for request in played] == [100, 300, 100, 300, 100]
    first, second = ({prefix for request in lap for prefix in request.prefix_ids} for lap in (played[:2], played[2:4]))
    assert not first & second


def test_means_and_extremes() -> None:
    assert SAMPLE.mean == MeanRequest(200, 20)
    assert SAMPLE.longest_tokens == 330


def test_longer_prompts_share_nothing() -> None:
    longer = SAMPLE.with_prompts(2.0)
    assert longer.mean == MeanRequest(400, 20)
    assert all(not request.prefix_ids for request in longer.requests)


def test_no_requests_are_no_traffic() -> None:
    with pytest.raises(InvalidSettings):
        Traffic(())
