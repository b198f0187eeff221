"""Direction and band of FlowPrefill's rows, on few requests."""

from benchmarks.headlines import flowprefill
from benchmarks.headlines.row import Effort


def test_urgent_prompts_that_interrupt_long_ones_raise_goodput(short: Effort) -> None:
    for row in flowprefill.rows(short):
        assert row.ratio is not None
        assert row.combined_ratio is not None
        assert 1.5 <= row.ratio <= 6
        assert row.combined_ratio >= row.ratio
