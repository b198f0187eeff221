"""What a worker holds in both tiers, heartbeat by heartbeat."""

from penstock.simulator.tiers import HostCache, TieredHashes

A, B, C = (bytes([n]) for n in range(3))


def test_without_host_memory_what_leaves_the_device_is_gone() -> None:
    hashes = TieredHashes(HostCache(), block_size=16)
    assert hashes.update([B, A], []) == ([A, B], [])
    assert hashes.update([], [A]) == ([], [A])


def test_host_memory_keeps_what_leaves_the_device_and_drops_the_least_recently_used() -> None:
    hashes = TieredHashes(HostCache(num_tokens=32), block_size=16)  # two blocks
    assert hashes.update([A, B], []) == ([A, B], [])
    assert hashes.update([], [A, B]) == ([], [])
    hashes.touch(B)
    assert hashes.update([C], []) == ([C], [A])
    assert hashes.update([B], []) == ([], [])  # back on the device: nothing new


def test_a_prefix_ends_where_neither_tier_has_its_block() -> None:
    hashes = TieredHashes(HostCache(num_tokens=1600), block_size=16)
    hashes.update([A, B], [])
    hashes.update([], [A])
    assert hashes.num_prefix_blocks([A, B, C], first=0, most=3) == 2
    assert hashes.num_prefix_blocks([A, B, C], first=0, most=1) == 1
    assert hashes.num_prefix_blocks([C, B, A], first=1, most=3) == 3
