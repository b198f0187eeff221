"""Direction and band of FastSwitch's rows, on few requests."""

from benchmarks.headlines import fastswitch
from benchmarks.headlines.row import Effort


def test_few_large_copies_beside_the_steps_shorten_the_tails(short_with_traces: Effort) -> None:
    ttft, tbt = fastswitch.rows(short_with_traces)
    assert ttft.ratio is not None
    assert ttft.combined_ratio is not None
    assert 1.4 <= ttft.ratio <= 8
    assert ttft.combined_ratio >= 1.4
    assert tbt.ratio is not None
    assert tbt.combined_ratio is not None
    assert 1.2 <= tbt.ratio <= 11.2
    assert tbt.combined_ratio >= 1.2
