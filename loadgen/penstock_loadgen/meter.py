"""What is going on right now: counted while requests run, summed over processes, shown in the terminal."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.core.timeline import percentile
from penstock_loadgen.exchange import CANCELLED, OK

WINDOW_S = 10.0  # of the percentiles shown
MAX_SAMPLES = 2048  # of the window, for each process and figure


@dataclass(slots=True)
class Reading:
    """Of one process, or of all together."""

    num_sent: int = 0
    num_ended: int = 0
    num_tokens: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # by kind
    ttft_s: list[float] = field(default_factory=list)  # of the last WINDOW_S
    tpot_s: list[float] = field(default_factory=list)
    max_lateness_s: float = 0.0  # of the last WINDOW_S

    @property
    def num_in_flight(self) -> int:
        return self.num_sent - self.num_ended

    @property
    def num_failed(self) -> int:
        return self.failures.total()


def together(readings: Iterable[Reading]) -> Reading:
    """The sum of several processes."""
    total = Reading()
    for reading in readings:
        total.num_sent += reading.num_sent
        total.num_ended += reading.num_ended
        total.num_tokens += reading.num_tokens
        total.failures += reading.failures
        total.ttft_s += reading.ttft_s
        total.tpot_s += reading.tpot_s
        total.max_lateness_s = max(total.max_lateness_s, reading.max_lateness_s)
    return total


def quantile(values: list[float], fraction: float) -> float | None:
    """None when there are none."""
    return percentile(sorted(values), fraction) if values else None


class Meter:
    """Counts for one process."""

    def __init__(self) -> None:
        self._total = Reading()
        self._ttft_s: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)  # (when, what)
        self._tpot_s: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)
        self._lateness_s: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)

    def sent(self, now_s: float, lateness_s: float) -> None:
        self._total.num_sent += 1
        self._lateness_s.append((now_s, lateness_s))

    def tokens(self, num_tokens: int) -> None:
        self._total.num_tokens += num_tokens

    def ended(self, now_s: float, kind: str, ttft_s: float | None, tpot_s: float | None) -> None:
        self._total.num_ended += 1
        if kind not in (OK, CANCELLED):
            self._total.failures[kind] += 1
        if ttft_s is not None:
            self._ttft_s.append((now_s, ttft_s))
        if tpot_s is not None:
            self._tpot_s.append((now_s, tpot_s))

    def read(self, now_s: float) -> Reading:
        """A copy that does not change any more."""
        since_s = now_s - WINDOW_S
        total = self._total
        return Reading(
            total.num_sent,
            total.num_ended,
            total.num_tokens,
            Counter(total.failures),
            [value for at_s, value in self._ttft_s if at_s > since_s],
            [value for at_s, value in self._tpot_s if at_s > since_s],
            max((value for at_s, value in self._lateness_s if at_s > since_s), default=0.0),
        )
