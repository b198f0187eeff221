"""Shared prefixes become block hashes."""

from penstock.simulator.workload import RequestSpec, block_hashes


def test_equal_prefix_ids_give_equal_hashes_and_others_do_not() -> None:
    one = block_hashes(RequestSpec(0.0, 1200, 1, (7, 8, 9)))
    other = block_hashes(RequestSpec(0.0, 1100, 1, (7, 8, 10)))
    assert len(one) == 1200 // 16
    assert one[:64] == other[:64]
    assert not set(one[64:]) & set(other[64:])
    assert len(set(one)) == len(one)


def test_nothing_is_shared_without_prefix_ids() -> None:
    assert block_hashes(RequestSpec(0.0, 1200, 1)) == []
