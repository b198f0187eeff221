"""Composed of operator tables: small made-up ones here."""

import gzip
from pathlib import Path

import pytest

from penstock.core.errors import InvalidSettings
from penstock.simulator.hardware import Gpu, ModelShape
from penstock.simulator.operator_costs import OperatorCosts, OperatorTables, interpolate

SHAPE = ModelShape(2, 64, 4, 4, 16, 128, 256)
GPU = Gpu(1e15, 1e18, 1e12)  # so fast that norms and activations are the kernels' 3 us each
KERNELS_S = 3 * 3e-6


def write(folder: Path, operator: str, header: str, *rows: str) -> None:
    with gzip.open(folder / f"toy_sxm__{operator}.csv.gz", "wt", encoding="utf8") as file:
        file.write("\n".join((header, *rows)) + "\n")


@pytest.fixture
def tables(tmp_path: Path) -> OperatorTables:
    sizes = (64, 128, 256)
    gemm = [f"{m},{n},{k},{m * n * k / 1e6}" for m in (1, 100) for n in sizes for k in sizes]
    write(tmp_path, "gemm", "m,n,k,latency", *gemm)
    heads = "num_heads,num_key_value_heads,head_dim,batch_size,window_size"
    write(tmp_path, "context_attention", f"{heads},isl,latency", "4,4,16,1,0,100,2.0", "4,4,16,1,0,200,6.0")
    rows = [f"4,4,16,{batch},0,{step},{batch * step / 1000}" for batch in (1, 4) for step in (100, 1000)]
    write(tmp_path, "generation_attention", f"{heads},step,latency", *rows)
    write(tmp_path, "moe", "hidden_size,inter_size,topk,num_experts,num_tokens,latency")
    write(tmp_path, "custom_allreduce", "num_gpus,message_size,backend,latency", "2,128,graph,0.5")
    return OperatorTables(tmp_path, "TOY")


def test_between_points_lies_the_line_and_beyond_them_proportion() -> None:
    curve = ([10, 20], [1.0, 3.0])
    assert [interpolate(curve, at) for at in (5, 15, 40)] == [1.0, 2.0, 6.0]


def test_gemm_is_linear_in_every_size(tables: OperatorTables) -> None:
    assert tables.gemm_s(50, 96, 192) == pytest.approx(50 * 96 * 192 / 1e9, rel=0.02)


def test_a_step_is_the_sum_of_its_operators(tables: OperatorTables) -> None:
    cost = OperatorCosts(tables, SHAPE, GPU, 1)
    linear = 100 * 64 * (192 + 64 + 256 + 128) / 1e9
    head = 256 * 64 / 1e9
    linear_s = cost.step_s([(0, 100)]) - 2 * 0.002
    assert linear_s == pytest.approx(2 * (linear + KERNELS_S) + head, rel=0.06)  # 100 tokens count as 104


def test_a_later_chunk_pays_what_is_left_of_its_prompts_attention(tables: OperatorTables) -> None:
    cost = OperatorCosts(tables, SHAPE, GPU, 1)
    assert cost.step_s([(100, 100)]) - cost.step_s([(0, 100)]) == pytest.approx(2 * (0.006 - 0.002 - 0.002))


def test_decode_attention_follows_batch_and_context(tables: OperatorTables) -> None:
    cost = OperatorCosts(tables, SHAPE, GPU, 1)
    assert cost.decode_s(2, 2 * 512) - cost.decode_s(2, 2 * 256) == pytest.approx(2 * 2 * 256 / 1e6, rel=0.05)


def test_a_missing_folder_and_a_missing_shape_are_named(tables: OperatorTables, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="gemm"):
        OperatorTables(tmp_path / "nowhere", "TOY")
    with pytest.raises(InvalidSettings, match="attention"):
        tables.context_attention_s((4, 2, 16), 10)
