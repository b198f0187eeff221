"""Sarathi-Serve (arXiv 2403.02310): how much more load stall-free batching bears than running prompts first."""

from dataclasses import replace

from benchmarks.headlines.experiments import load, run
from benchmarks.headlines.row import Effort, Row
from penstock.cli.experiment import Point
from penstock.core.timeline import Stage
from penstock.simulator.goodput import find_goodput

PAPER = "Sarathi-Serve"
MAX_MEDIAN_DELAY_S = 2.0  # of scheduling, in the paper's definition of capacity
MARGIN = 0.9  # of the objective: what a step is expected to take may be wrong by the rest
STALL_FREE = ("pools.0.batching=stall_free",)
COMBINED = ("pools.0.batching=adaptive", "pools.0.order=urgency", "pools.0.max_step_tokens=4096")

MODELS = {
    # P99 time between tokens, strict and relaxed: the published ratios, and a rate to begin the search with
    "mistral_7b": ("Mistral-7B on 1 A100", ((0.1, "3.5x vLLM (2.78x Orca)"), (0.5, "2.15x Orca")), 1.0),
    "yi_34b": ("Yi-34B on 2 A100 (TP2)", ((0.2, "3.7x vLLM (4.0x Orca)"), (1.0, "1.65x vLLM (2.44x Orca)")), 0.4),
}


def rows(effort: Effort) -> list[Row]:
    """Capacity of each policy under each objective: the shorter budget under the strict one, as in the paper."""
    lengths = f"workload.lengths.path={effort.trace('sharegpt_8k_lengths_llama2tok.csv')}"
    if not effort.is_full:
        return [_stalls(lengths)]
    found: list[Row] = []
    for name, (model, objectives, first_rate) in MODELS.items():
        for (tbt_slo_s, published), budget in zip(objectives, (512, 2048), strict=True):
            baseline, ours, combined = (
                capacity(load("sarathi", name, [lengths, *policy]), tbt_slo_s, first_rate)
                for policy in _policies(budget, tbt_slo_s)
            )
            objective = f"P99 TBT {tbt_slo_s:g} s, median scheduling delay 2 s"
            found.append(
                Row(PAPER, published, f"{model}, ShareGPT lengths, {objective}", baseline, ours, combined, "requests/s")
            )
    return found


def _policies(budget: int, tbt_slo_s: float) -> tuple[tuple[str, ...], ...]:
    return (
        (),
        (*STALL_FREE, f"pools.0.max_step_tokens={budget}"),
        (*COMBINED, f"pools.0.tpot_slo_s={MARGIN * tbt_slo_s}"),
    )


def _stalls(lengths: str) -> Row:
    """What makes the difference, on few requests: too few arrive to be a load, and the search would find no limit."""
    few = (lengths, "workload.num_requests=60", "workload.arrivals.rate=4")
    tails = [run(load("sarathi", "mistral_7b", [*few, *policy])).latencies["itl_s"] for policy in _policies(512, 0.1)]
    baseline, ours, combined = (tail.p99 for tail in tails if tail is not None)
    set_up = "Mistral-7B on 1 A100, ShareGPT lengths, 4 requests/s"
    return Row(PAPER, "streams do not stall", set_up, baseline, ours, combined, "s, P99 TBT", higher_is_better=False)


def capacity(point: Point, tbt_slo_s: float, first_rate: float) -> float:
    """The largest rate with P99 time between tokens and median scheduling delay within bounds."""

    def is_borne(rate: float) -> float:
        arrivals = replace(point.workload.arrivals, rate=rate)
        result = run(replace(point, workload=replace(point.workload, arrivals=arrivals)))
        tbt, delay = result.latencies["itl_s"], result.stages[Stage.QUEUE.value]
        assert tbt is not None, "requests ended"
        return float(tbt.p99 <= tbt_slo_s and (delay is None or delay.p50 <= MAX_MEDIAN_DELAY_S))

    return find_goodput(is_borne, first_rate, goal=1.0, precision=0.04).rate
