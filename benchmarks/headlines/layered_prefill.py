"""Layered Prefill (arXiv 2510.08055): prompts pass the layers in groups, so that experts are read once a prompt."""

from collections.abc import Callable

from benchmarks.headlines.experiments import load, run
from benchmarks.headlines.row import Effort, Row
from penstock.simulator.report import Report

PAPER = "Layered Prefill"
TBT_SLO_S = 0.05  # about 5 steps of 32 decodes at 4096 tokens of context, as the paper sets it
POLICIES = (
    (),
    ("pools.0.batching=layered", "pools.0.max_step_tokens=8192"),
    (
        "pools.0.batching=adaptive",
        "pools.0.order=urgency",
        "pools.0.max_step_tokens=8192",
        f"pools.0.tpot_slo_s={TBT_SLO_S}",
    ),
)
MOE, DENSE = "Qwen3-30B-A3B on 2 H100 (TP2)", "Qwen3-8B (dense) on 2 H100 (TP2)"


def rows(effort: Effort) -> list[Row]:
    """Expert bytes and latencies of a mixture of experts, and the dense model on which the idea loses."""
    count = f"workload.num_requests={effort.num_requests(400, 60)}"
    arxiv, dense = (_measured(name, [count]) for name in ("arxiv", "dense"))
    found = [
        _row("mean TTFT 2.80 -> 1.24 s (2.3x)", f"{MOE}, arXiv lengths, 1.3/s", arxiv, _ttft_s, "s"),
        _row("mean TBT -35 % (1.5x)", f"{MOE}, arXiv lengths, 1.3/s", arxiv, _tbt_s, "s", _p99_note(arxiv)),
        _row("expert bytes -39 % (1.6x)", f"{MOE}, arXiv lengths, 1.3/s", arxiv, _expert_tb, "TB"),
        _row("loses: TTFT 0.955 -> 1.45 s (0.66x)", f"{DENSE}, arXiv lengths, 1.3/s", dense, _ttft_s, "s"),
    ]
    if effort.is_full:
        lengths = effort.trace("sharegpt_8k_lengths_llama2tok.csv")
        sharegpt = _measured("sharegpt", [count, f"workload.lengths.path={lengths}"])
        set_up = f"{MOE}, ShareGPT lengths, 4.4/s"
        found.insert(3, _row("expert bytes -12 % (1.1x)", set_up, sharegpt, _expert_tb, "TB"))
    return found


def _measured(name: str, common: list[str]) -> tuple[Report, ...]:
    return tuple(run(load("layered_prefill", name, [*common, *policy])) for policy in POLICIES)


def _row(
    claim: str, set_up: str, reports: tuple[Report, ...], figure: Callable[[Report], float], unit: str, note: str = ""
) -> Row:
    baseline, ours, combined = map(figure, reports)
    return Row(PAPER, claim, set_up, baseline, ours, combined, unit, higher_is_better=False, note=note)


def _ttft_s(report: Report) -> float:
    ttft = report.latencies["ttft_s"]
    assert ttft is not None, "requests ended"
    return ttft.mean


def _tbt_s(report: Report) -> float:
    tbt = report.latencies["itl_s"]
    assert tbt is not None, "tokens came"
    return tbt.mean


def _expert_tb(report: Report) -> float:
    return sum(pool.expert_bytes for pool in report.pools.values()) / 1e12


def _p99_note(reports: tuple[Report, ...]) -> str:
    tails = [report.latencies["itl_s"] for report in reports]
    shown = ", ".join(f"{1000 * tail.p99:.0f}" for tail in tails if tail is not None)
    return (
        f"P99 TBT {shown} ms; combined passes more groups a step while the objective of {1000 * TBT_SLO_S:g} ms lasts"
    )
