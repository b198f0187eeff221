"""Whether a run measured what it was meant to: a client that fell behind measures itself.

An open loop sends each request when it is due. If it cannot, the arrivals are not the ones asked for, and every
latency looks better than it is (coordinated omission). Such a run is marked, never mended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.timeline import percentile
from penstock_loadgen.record import RequestRecord

MAX_LATENESS_S = 0.025  # of the latest sends, and of the event loop: some ten times what an idle client shows


@dataclass(frozen=True, slots=True)
class Validity:
    """`reasons` against the run; none when it is valid. Percentiles P99, seconds."""

    reasons: tuple[str, ...] = ()
    lateness_p99_s: float = 0.0
    lag_p99_s: float = 0.0

    @property
    def is_valid(self) -> bool:
        return not self.reasons


def judge(
    records: Sequence[RequestRecord],
    lags_s: Sequence[float],
    max_lateness_s: float = MAX_LATENESS_S,
    is_interrupted: bool = False,
) -> Validity:
    """Look for what makes a run worthless. `lags_s` are how late the client's event loop ran."""
    counted = [record for record in records if not record.is_warm_up]
    lateness_s = _p99([record.lateness_s for record in counted])
    limit = f"(limit {max_lateness_s * 1e3:.0f} ms)"
    lag_s = _p99(lags_s)
    reasons = []
    if lateness_s > max_lateness_s:
        reasons.append(
            f"1 % of the requests were sent at least {lateness_s * 1e3:.0f} ms late {limit}: "
            "the client fell behind its schedule; add --processes, or lower the rate"
        )
    if lag_s > max_lateness_s:
        reasons.append(
            f"the client's event loop ran {lag_s * 1e3:.0f} ms late 1 % of the time {limit}: "
            "it reads tokens later than they come; add --processes, or give it a core of its own"
        )
    if any("Too many open files" in record.error for record in counted):
        reasons.append("the client ran out of file descriptors; raise `ulimit -n`")
    if is_interrupted:
        reasons.append("the run was interrupted")
    if not counted:
        reasons.append("no request was counted: the run is shorter than its warm-up, or nothing was sent")
    return Validity(tuple(reasons), lateness_s, lag_s)


def _p99(values: Sequence[float]) -> float:
    return percentile(sorted(values), 0.99) if values else 0.0
