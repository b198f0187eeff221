"""Where a prefix is kept."""

import pytest

from penstock.core.policies.tier_choice import Tier, choose_tier

GB = 10**9
HOST = Tier("host", 25e9, 0.0, price=3.0, num_free_bytes=8 * GB)
DISK = Tier("disk", 5e9, 0.001, price=0.1, num_free_bytes=900 * GB)
REMOTE = Tier("remote", 10e9, 0.005, price=3.0, num_free_bytes=900 * GB)
TIERS = [HOST, DISK, REMOTE]


@pytest.mark.parametrize(
    ("case", "num_bytes", "recompute_s", "tier"),
    [
        # 1 GB: host 0.04 s, remote 0.105 s, disk 0.201 s
        ("the cheapest in time", GB, 0.25, DISK),
        ("only just", GB, 0.201, DISK),
        ("too slow a disk: of equal price the faster", GB, 0.2, HOST),
        ("no room at the host", 9 * GB, 1.0, REMOTE),
        ("computing is faster than any", GB, 0.03, None),
    ],
)
def test_chooses_the_cheapest_that_is_worth_loading_from(
    case: str, num_bytes: int, recompute_s: float, tier: Tier | None
) -> None:
    assert choose_tier(TIERS, num_bytes, recompute_s) is tier, case


def test_without_tiers_it_is_dropped() -> None:
    assert choose_tier([], GB, 9.0) is None
