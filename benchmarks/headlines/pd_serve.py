"""P/D-Serve (arXiv 2408.08147): ratio of prefill to decode workers, forwarding upon rejection, contiguous transfer."""

from statistics import fmean

from benchmarks.headlines.experiments import goodput, load, run
from benchmarks.headlines.row import Effort, Row
from penstock.cli.experiment import Point
from penstock.core.policies.role_ratio import MeanRequest, decode_batch, decode_rate, prefill_rate
from penstock.core.rate_balance import best_counts
from penstock.core.types import Role

PAPER = "P/D-Serve"
SET_UP = "Llama-3-8B on 8 H200, prompts of 2000 and answers of 250 tokens"
NORMALISED = "the paper normalises its figures and names no model, lengths or objectives"

_NUM_WORKERS = 8
# Requests go to the shortest queue by load reports of up to a quarter of a second ago, and wait there.
_STALE_QUEUES = (
    "router={order: least_load, counts_in_flight: false}",
    "heartbeat_interval_s=0.25",
    "pools.0.max_pending_tokens=1000000000",
)
_OURS = ("router={order: predicted}", "pools.0.max_pending_tokens=4096", "pools.1.max_pending_tokens=4096")


def rows(effort: Effort) -> list[Row]:
    """Three rows, each on the same eight workers."""
    return [ratio(effort), rejection(effort), transfer(effort)]


def planned_counts() -> dict[Role, int]:
    """The split that rate balance computes from the coefficients alone."""
    scenario = load("pd_serve", "group").scenario
    cost, pool, request = scenario.known_cost, scenario.pools[1], MeanRequest(2000, 250)
    assert cost is not None, "the scenario is profiled"
    num_kv_tokens = pool.cost.shape.num_kv_tokens(pool.cost.hardware, pool.cost.tp)
    batch = min(pool.max_sequences, decode_batch(request, cost, scenario.slo.tpot_s, num_kv_tokens))
    rates = {Role.PREFILL: prefill_rate(request, cost), Role.DECODE: decode_rate(request, cost, batch)}
    return best_counts(_NUM_WORKERS, rates)


def split(num_prefill: int, num_requests: int, *overrides: str) -> Point:
    """The group with so many of its workers prefilling."""
    counts = (f"pools.0.count={num_prefill}", f"pools.1.count={_NUM_WORKERS - num_prefill}")
    return load("pd_serve", "group", [f"workload.num_requests={num_requests}", *counts, *overrides])


def ratio(effort: Effort) -> Row:
    """Goodput of the planned split against that of others."""
    best = planned_counts()[Role.PREFILL]

    def measured(num_prefill: int, *overrides: str) -> float:
        point = split(num_prefill, effort.num_requests(2500, 400), *overrides)
        return goodput(point, first_rate=80.0, precision=0.05 if effort.is_full else 0.3).rate

    tried = (3, 4, 5, 6, 7) if effort.is_full else (3, best, 7)
    others = [num_prefill for num_prefill in tried if num_prefill != best]
    by_others = [measured(num_prefill) for num_prefill in others]
    return Row(
        PAPER,
        "best ratio: at least +60 % throughput over other ratios",
        f"{SET_UP}, 500/30 ms for 90 %",
        fmean(by_others),
        measured(best),
        measured(4, *_OURS, "roles.policy=combined"),
        "requests/s",
        note=f"planned {best}:{_NUM_WORKERS - best} against the mean of other splits, "
        f"{min(by_others):.0f} to {max(by_others):.0f} requests/s; combined begins at 4:4. {NORMALISED}",
    )


def rejection(effort: Effort) -> Row:
    """Attainment with one queue before the workers against a queue at each."""
    best = planned_counts()[Role.PREFILL]
    traffic = ("workload.arrivals.rate=80", "workload.lengths.prompt_cv=1.0")

    def attained(*overrides: str) -> float:
        return run(split(best, effort.num_requests(6000, 250), *traffic, *overrides)).attainment

    return Row(
        PAPER,
        "forwarding upon rejection: +42 % TTFT attainment over queues at workers",
        f"{SET_UP} (cv 1), {best}:{_NUM_WORKERS - best}, 80 requests/s, 500/30 ms",
        attained(*_STALE_QUEUES),
        attained(),
        attained(*_OURS),
        "attainment",
        note=f"baseline: least load by reports of up to 0.25 s ago. {NORMALISED}",
    )


def transfer(effort: Effort) -> Row:
    """Seconds on the network."""

    def mean_s(*overrides: str) -> float:
        report = run(split(4, effort.num_requests(1000, 100), "workload.arrivals.rate=40", *overrides))
        return report.transfer.busy_s / report.requests.num_finished

    contiguous_s = mean_s()
    return Row(
        PAPER,
        "block-free transfer: -46 % transfer time",
        f"{SET_UP}, 400 Gbit/s, 10 us per operation, blocks of 128 tokens",
        mean_s("transfer.is_contiguous=false"),
        contiguous_s,
        mean_s(*_OURS),
        "s per request",
        higher_is_better=False,
        note=f"every operation is paid in full, none overlap. {NORMALISED}",
    )
