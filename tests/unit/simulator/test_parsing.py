"""At the door: what is accepted becomes typed, what is not is named."""

from typing import Any

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.types import Role
from penstock.simulator.parsing import parse
from penstock.simulator.scenario import Scenario


def test_nested_values_get_their_types() -> None:
    raw = {
        "slo": {"ttft_s": "2e-1"},
        "pools": [{"role": "decode", "count": 2, "cost": {"tp": 4, "gpu_peaks": None}}],
        "transfer": {"is_contiguous": False, "bandwidth_bytes_per_s": "1e9"},
        "failures": [{"worker": "decode-0", "at_s": 3}],
    }
    scenario = parse(Scenario, raw)
    assert scenario.slo.ttft_s == 0.2
    assert scenario.pools[0].role is Role.DECODE
    assert scenario.num_gpus == 8
    assert scenario.transfer.is_contiguous is False
    assert scenario.failures[0].back_after_s == float("inf")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"pols": []}, "pols.*no such key; there are name, pools"),
        ({"pools": [{"cuont": 2}]}, r"pools\.0\.cuont"),
        ({"pools": {"count": 2}}, "pools.*must be a list"),
        ({"pools": [{"count": 1.5}]}, r"pools\.0\.count.*whole number"),
        ({"pools": [{"count": -1}]}, r"pools\.0\.count.*not negative"),
        ({"pools": [{"role": "cook"}]}, r"pools\.0\.role.*encoder, prefill, decode, mixed"),
        ({"transfer": {"is_contiguous": "perhaps"}}, r"transfer\.is_contiguous.*true or false"),
        ({"slo": 3}, "slo.*must be a mapping"),
        ({"failures": [{"worker": "decode-0"}]}, r"failures\.0.*lacks a key.*at_s"),
        ({"name": []}, "name.*must be text"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        parse(Scenario, raw)


def test_a_file_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="mapping"):
        parse(Scenario, [1])
