"""Direction and band of xLLM's row, at one speed of the first minutes of its trace."""

from benchmarks.headlines import xllm
from benchmarks.headlines.experiments import load
from benchmarks.headlines.row import Effort
from benchmarks.headlines.traced import attained


def test_flipping_workers_attains_more_than_fixed_roles(short_with_traces: Effort) -> None:
    settings = [f"workload.trace.path={short_with_traces.trace(xllm.TRACE)}", "workload.num_requests=700"]
    shares = {
        name: attained(load("xllm", "azure_code", [*settings, *xllm.POLICIES[name]]), speed=14.0)
        for name in ("minimal load", "xLLM", "combined")
    }
    assert shares["minimal load"] + 0.02 < shares["xLLM"]
    assert shares["combined"] >= shares["xLLM"] - 0.01
