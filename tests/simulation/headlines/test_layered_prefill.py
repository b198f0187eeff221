"""Direction and band of Layered Prefill's rows, on few requests."""

from benchmarks.headlines import layered_prefill
from benchmarks.headlines.row import Effort


def test_experts_are_read_less_and_first_tokens_come_sooner_except_on_a_dense_model(short: Effort) -> None:
    ttft, tbt, expert_bytes, dense = layered_prefill.rows(short)
    assert ttft.ratio is not None
    assert 1.5 <= ttft.ratio <= 3.5
    assert tbt.ratio is not None
    assert 1.05 <= tbt.ratio <= 2.0
    assert expert_bytes.ratio is not None
    assert 1.3 <= expert_bytes.ratio <= 2.5
    assert dense.ratio is not None
    assert 0.5 <= dense.ratio < 1.0
    for row in (ttft, tbt, expert_bytes, dense):
        assert row.ratio is not None
        assert row.combined_ratio is not None
        assert row.combined_ratio >= 0.99 * row.ratio, row.claim
    assert dense.combined_ratio is not None
    assert dense.combined_ratio >= 1.0  # which layers nothing there
