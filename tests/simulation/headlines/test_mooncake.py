"""Direction and band of Mooncake's rows, on the first minutes of its trace."""

from benchmarks.headlines import mooncake
from benchmarks.headlines.row import Effort


def test_the_more_routing_knows_the_sooner_the_first_token(short_with_traces: Effort) -> None:
    load, local, everywhere = mooncake.rows(short_with_traces)
    assert load.ratio is not None and local.ratio is not None
    assert everywhere.ratio is not None and everywhere.combined_ratio is not None
    assert load.ratio > 2
    assert local.ratio > 0.9 * load.ratio  # few requests share a prefix so early
    assert everywhere.ratio > local.ratio
    assert everywhere.combined_ratio > 0.95 * everywhere.ratio
