"""Direction and band of DistServe's rows, on few requests."""

from benchmarks.headlines import distserve
from benchmarks.headlines.row import Effort


def test_the_published_placement_serves_about_the_published_rate(short: Effort) -> None:
    placement, example, *_ = distserve.rows(short)
    assert placement.ours is not None
    assert 1.2 <= placement.ours <= 2.6  # published: 1.56
    assert example.ratio is not None
    assert 1.2 <= example.ratio <= 2.4  # published: 2.1
