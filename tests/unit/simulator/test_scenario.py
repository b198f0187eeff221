"""From a description to workers."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.route_book import RouteRules
from penstock.simulator.cluster import Cluster
from penstock.simulator.cost_model import CostSpec, build_cost_model
from penstock.simulator.scenario import Failure, PoolSpec, Scenario


def test_blocks_are_what_fits_beside_the_weights_unless_given() -> None:
    spec = CostSpec(model="Llama-3-8B")
    assert PoolSpec(cost=spec).plan().num_blocks == spec.shape.num_kv_tokens(spec.hardware, 1) // 16
    assert PoolSpec(cost=spec, num_kv_tokens=1000, block_size=32).plan().num_blocks == 31


@pytest.mark.parametrize(
    ("pool", "key"),
    [
        (PoolSpec(order="greedy"), "order"),
        (PoolSpec(cost=CostSpec(kind="oracle")), "cost.kind"),
        (PoolSpec(cost=CostSpec(kind="operators")), "cost.tables"),
        (PoolSpec(cost=CostSpec(kind="roofline", model="Llama-3-70B", gpu="A100")), "num_kv_tokens"),
    ],
)
def test_pools_that_cannot_be_are_refused(pool: PoolSpec, key: str) -> None:
    with pytest.raises(InvalidSettings, match=key):
        pool.plan()


def test_a_routing_order_must_be_known() -> None:
    with pytest.raises(InvalidSettings, match="round_robin"):
        RouteRules(order="alphabet")


def test_a_model_of_ones_own_has_a_roofline() -> None:
    shape = CostSpec(model="Qwen3-8B").shape
    spec = CostSpec(kind="roofline", model_shape=shape, gpu_peaks=CostSpec(gpu="H100").hardware)
    assert build_cost_model(spec).decode_s(1, 1) > 0


def test_a_failure_must_name_a_worker_there_is() -> None:
    with pytest.raises(InvalidSettings, match="mixed-0"):
        Cluster(Scenario(failures=(Failure("decode-9", 1.0),)))
