"""KV on the wire: bytes, operations, ports."""

import pytest

from penstock.core.kv_layout import KvLayout
from penstock.simulator.transfers import Network, Port, TransferCosts

LAYOUT = KvLayout(8, 2, 4, block_size=16, num_blocks=1, element_bytes=2, dtype="bfloat16")  # 32 B per token, layer
COSTS = TransferCosts(bandwidth_bytes_per_s=3200.0, operation_s=0.5, num_layer_groups=3)


def test_a_piece_takes_its_operations_and_its_bytes() -> None:
    network = Network(LAYOUT, COSTS)
    assert network.push(Port(), Port(), num_layers=2, num_tokens=100, now_s=1.0) == pytest.approx(1 + 4 * 0.5 + 2.0)
    assert network.totals.num_bytes == 2 * 100 * 32
    assert network.totals.num_operations == 4


def test_without_contiguity_every_block_is_an_operation_of_its_own() -> None:
    network = Network(LAYOUT, TransferCosts(1e9, 0.5, is_contiguous=False))
    network.push(Port(), Port(), num_layers=2, num_tokens=100, now_s=0.0)
    assert network.totals.num_operations == 2 * 2 * 7


def test_a_busy_port_makes_the_next_piece_wait_at_either_end() -> None:
    network, sender, receiver = Network(LAYOUT, COSTS), Port(), Port()
    first_s = network.push(sender, Port(), 1, 100, 0.0)
    second_s = network.push(sender, receiver, 1, 100, 0.0)
    third_s = network.push(Port(), receiver, 1, 100, 0.0)
    other_s = network.push(Port(), Port(), 1, 100, 0.0)
    assert (second_s, third_s, other_s) == pytest.approx((2 * first_s, 3 * first_s, first_s))


def test_layer_groups_cover_every_layer_once() -> None:
    groups = Network(LAYOUT, COSTS).layer_groups()
    assert [layer for group in groups for layer in group] == list(range(8))
    assert len(groups) == 3
