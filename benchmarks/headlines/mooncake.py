"""Mooncake (FAST'25): mean TTFT by how much routing knows of prefix caches, on its conversation trace."""

from benchmarks.headlines.experiments import load, run
from benchmarks.headlines.row import Effort, Row

PAPER = "Mooncake"
TRACE = "mooncake_conversation_trace.jsonl"
SET_UP = "conversation trace, Llama-3-70B TP4, 8 + 8 workers of 4 A100, host caches of 3M tokens"

_FETCH = "fetch_s_per_token: 4e-6"  # 320 KiB of KV at 87 GB/s
POLICIES = {
    "random": ("router={order: random}",),
    "load": ("router={order: mooncake, knows_prefixes: false}",),
    "local": ("router={order: mooncake, orders: {mooncake: {can_fetch: false}}}",),
    "global": (f"router={{order: mooncake, orders: {{mooncake: {{can_fetch: true, {_FETCH}}}}}}}",),
    "combined": (f"router={{orders: {{routing: {{{_FETCH}}}}}}}", "pools.0.max_pending_tokens=32768"),
}
PUBLISHED_S = {"random": 19.65, "load": 5.27, "local": 3.58, "global": 3.07}
_CLAIMS = {"load": "load balancing", "local": "local cache-aware routing", "global": "global cache-aware routing"}


def rows(effort: Effort) -> list[Row]:
    """Each routing against random, all on the same requests."""
    path = f"workload.trace.path={effort.trace(TRACE)}"
    count = f"workload.num_requests={effort.num_requests(0, 250)}"

    def mean_ttft_s(policy: str) -> float:
        latencies = run(load("mooncake", "conversation", [path, count, *POLICIES[policy]])).latencies["ttft_s"]
        return latencies.mean if latencies else float("inf")

    means_s = {policy: mean_ttft_s(policy) for policy in POLICIES}
    return [
        Row(
            PAPER,
            f"{name}: mean TTFT {PUBLISHED_S[policy]} s, random {PUBLISHED_S['random']} s",
            SET_UP,
            means_s["random"],
            means_s[policy],
            means_s["combined"],
            "s of TTFT",
            higher_is_better=False,
            note="the paper's workers are of 8 A800 each, for which there is no fit; time stamps spread over their 3 s",
        )
        for policy, name in _CLAIMS.items()
    ]
