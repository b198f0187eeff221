"""FastSwitch (arXiv 2411.18424): tails when priorities change and not all conversations fit on the device."""

from benchmarks.headlines.experiments import load, run
from benchmarks.headlines.row import Effort, Row

PAPER = "FastSwitch"
SET_UP = "Llama-3-8B on 1 A10, ShareGPT conversations, about 1 request/s, priorities drawn anew every 25 steps"
NOTE = (
    "more than this A10 bears, and so a queue that grows; P99 where the paper has P99.9 too; "
    "no host copies across turns: prefixes are cached on the device only"
)
FASTSWITCH = tuple(f"pools.0.swap.{name}=true" for name in ("is_grouped", "is_incremental", "is_asynchronous"))
POLICIES = (
    (),
    FASTSWITCH,
    (*FASTSWITCH, "pools.0.swap.may_recompute=true", "pools.0.order=urgency", "pools.0.tpot_slo_s=0.15"),
)


def rows(effort: Effort) -> list[Row]:
    """Tails of first tokens and of the time between tokens; whole, synchronous copies of single blocks as baseline."""
    common = [
        f"workload.sessions.path={effort.trace('sharegpt_8k_lengths_llama2tok.csv')}",
        f"workload.num_requests={effort.num_requests(600, 250)}",
    ]
    reports = [run(load("fastswitch", "llama3_8b", [*common, *policy])) for policy in POLICIES]
    found: list[Row] = []
    for claim, name, unit in (
        ("tail TTFT 1.4-5.8x", "ttft_s", "s, P99 TTFT"),
        ("tail TBT up to 11.2x", "itl_s", "s, P99 TBT"),
    ):
        baseline, ours, combined = (tail.p99 for report in reports if (tail := report.latencies[name]) is not None)
        found.append(Row(PAPER, claim, SET_UP, baseline, ours, combined, unit, higher_is_better=False, note=NOTE))
    return found
