"""xLLM (technical report, arXiv 2510.14686): request rate of its dynamic PD policy, on a trace of bursts."""

from benchmarks.headlines.experiments import load
from benchmarks.headlines.row import Effort, Row
from benchmarks.headlines.traced import largest_rate

PAPER = "xLLM"
TRACE = "AzureLLMInferenceTrace_code_2023.csv"

# As the report has it: flips without hold, cool-down or hysteresis, two decode workers at least.
_DYNAMIC = (
    "router.order=xllm",
    "roles={policy: xllm, interval_s: 0.25, thresholds: {ease: 1.0}, "
    "limits: {hold_s: 0, cool_down_s: 0, reverse_cool_down_s: 0, min_workers: {decode: 2}}}",
)
POLICIES = {
    "minimal load": ("router.order=least_load",),
    "round robin": ("router.order=round_robin",),
    "xLLM": _DYNAMIC,
    "combined": ("roles.policy=combined",),
}


def rows(effort: Effort) -> list[Row]:
    """One row: the largest rate that keeps 90 % within the objectives."""
    path = f"workload.trace.path={effort.trace(TRACE)}"
    count = f"workload.num_requests={effort.num_requests(0, 1500)}"
    rates = {
        name: largest_rate(load("xllm", "azure_code", [path, count, *overrides]), first_speed=6.0)
        for name, overrides in POLICIES.items()
    }
    return [
        Row(
            PAPER,
            "SLO-aware dynamic PD serves 1.67x the request rate of minimal load",
            "Azure code trace, Llama-3-8B, 4 + 4 H200, 1 s / 50 ms for 90 %",
            rates["minimal load"],
            rates["xLLM"],
            rates["combined"],
            "requests/s",
            note=f"model and number of instances are not published; round robin {rates['round robin']:.1f} requests/s",
        )
    ]
