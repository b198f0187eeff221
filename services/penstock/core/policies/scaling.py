"""How many workers a role should have for the load it sees: up at once, down only when the need has passed.

The proportional rule of the Kubernetes autoscaler, on requests per second instead of CPU:

    needed  = ceil(arrival rate / (rate of one worker * target utilisation))            [workers]
    keep    while |needed / current - 1| <= tolerance
    up      to needed at once
    down    to the largest count needed within the last `down_window_s`

Rates of one worker come from `policies.role_ratio` or from measurement. The arrival rate must count what was refused
too, or a full system looks like a small one.
"""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """Bounds of one role. Utilisation leaves room for bursts: requests queue long before a worker is always busy."""

    min_workers: int = 1
    max_workers: int = 1000
    target_utilisation: float = 0.7
    tolerance: float = 0.1
    down_window_s: float = 300.0


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What was needed lately: (when, count), oldest first, each count larger than all after it."""

    needed: tuple[tuple[float, int], ...] = ()


def desired_count(
    current: int, arrival_rate: float, worker_rate: float, state: ScalingState, now_s: float, limits: ScalingLimits
) -> tuple[int, ScalingState]:
    """The count to have now, and what to remember. Rates are requests/s; `worker_rate` is one worker's at full load."""
    exact = arrival_rate / (worker_rate * limits.target_utilisation)
    # 1e-9, twice: what only rounding puts past a limit is within it
    is_within = current > 0 and abs(exact / current - 1) <= limits.tolerance + 1e-9
    needed = current if is_within else ceil(exact - 1e-9)
    needed = min(max(needed, limits.min_workers), limits.max_workers)
    oldest_s = now_s - limits.down_window_s
    recent = tuple((at_s, count) for at_s, count in state.needed if at_s > oldest_s and count > needed)
    recent = (*recent, (now_s, needed))
    most = recent[0][1]
    return (needed if needed >= current else min(current, most)), ScalingState(recent)
