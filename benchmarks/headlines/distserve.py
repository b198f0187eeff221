"""DistServe (arXiv 2401.09670): goodput per GPU of disaggregated against co-located serving."""

from benchmarks.headlines.experiments import goodput, load
from benchmarks.headlines.row import Effort, Row

PAPER = "DistServe"


def rows(effort: Effort) -> list[Row]:
    """The placement its search answers, per GPU, beside one GPU that does both."""
    count = f"workload.num_requests={effort.num_requests(300, 100)}"
    colocated, disaggregated = (
        load("distserve", f"13b_sharegpt_{name}", [count]) for name in ("colocated", "disaggregated")
    )
    baseline, ours = (
        goodput(point, first_rate=2.0 * point.scenario.num_gpus).rate / point.scenario.num_gpus
        for point in (colocated, disaggregated)
    )
    return [
        Row(
            PAPER,
            "1.56 requests/s per GPU at (tp_p, pp_p, tp_d, pp_d) = (2, 1, 1, 1)",
            "OPT-13B, A100, ShareGPT lengths, 200/100 ms for 90 %",
            baseline,
            ours,
            None,
            "requests/s per GPU",
        )
    ]
