"""Direction and band of Sarathi-Serve's rows, on few requests."""

from benchmarks.headlines import sarathi
from benchmarks.headlines.row import Effort


def test_chunks_keep_streams_from_stalling(short_with_traces: Effort) -> None:
    [stalls] = sarathi.rows(short_with_traces)
    assert stalls.ratio is not None
    assert 1.5 <= stalls.ratio <= 20
    assert stalls.combined is not None
    assert stalls.combined <= 0.1  # its objective, beside which it runs as many tokens as it can
