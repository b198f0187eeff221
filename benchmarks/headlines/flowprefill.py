"""FlowPrefill (arXiv 2602.16603): goodput of urgent-first prefill that yields between layers."""

from benchmarks.headlines.experiments import goodput, load
from benchmarks.headlines.row import Effort, Row

PAPER = "FlowPrefill"
POLICIES = {
    "fcfs": (),
    "chunked": ("pools.0.max_step_tokens=2048",),
    "ours": ("pools.0.order=slack_edf", "pools.0.preempts_prefills=true"),
    "combined": ("pools.0.order=urgency", "pools.0.preempts_prefills=true", "pools.0.max_step_tokens=8192"),
}
SET_UP = "Llama-3-8B on 1 A100 (GPU of the paper unknown), TTFT 250/500/4000/6000 ms for 90 %, synthetic classes"
NOTE = "the paper's trace is not public: classes and objectives are its own, shares and lengths are ours"


def rows(effort: Effort) -> list[Row]:
    """The same two policies against first come, first served and against chunks of 2048 tokens."""
    count = f"workload.num_requests={effort.num_requests(1500, 120)}"
    precision = 0.03 if effort.is_full else 0.25
    rates = {
        name: goodput(load("flowprefill", "llama3_8b", [count, *policy]), first_rate=2.0, precision=precision).rate
        for name, policy in POLICIES.items()
    }
    ours, combined = rates["ours"], rates["combined"]
    return [
        Row(PAPER, "4.7-5.6x DistServe's FCFS", SET_UP, rates["fcfs"], ours, combined, "requests/s", note=NOTE),
        Row(PAPER, "1.5-3.1x tighter than chunks", SET_UP, rates["chunked"], ours, combined, "requests/s", note=NOTE),
    ]
