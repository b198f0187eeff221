"""What `penstock bench` shows while it runs: rate, in flight, P50 and P99, errors, and how late the client is."""

from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.runtime import clock
from penstock_loadgen.meter import Reading, quantile

_RATE_WINDOW_S = 5.0
_LINE_INTERVAL_S = 10.0  # where there is no terminal to draw on
_LATE_S = 0.025


class BenchProgress:
    """A live panel on a terminal, a line now and then elsewhere, nothing when quiet. Written to standard error."""

    def __init__(self, console: Console, title: str, duration_s: float, num_requests: int, is_quiet: bool) -> None:
        self._console = console
        self._title = title
        self._duration_s = duration_s
        self._num_requests = num_requests
        self._is_quiet = is_quiet
        self._past: deque[tuple[float, int, int, int]] = deque()  # when, sent, ended, tokens
        self._printed_s = clock.now_s()
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> "BenchProgress":
        if self._console.is_terminal and not self._is_quiet:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def show(self, now_s: float, reading: Reading) -> None:
        """Draw what is going on."""
        self._past.append((now_s, reading.num_sent, reading.num_ended, reading.num_tokens))
        while len(self._past) > 2 and self._past[0][0] < now_s - _RATE_WINDOW_S:
            self._past.popleft()
        if self._is_quiet:
            return
        if self._live.is_started:
            self._live.update(self.panel(now_s, reading), refresh=True)
        elif clock.now_s() - self._printed_s >= _LINE_INTERVAL_S:
            self._printed_s = clock.now_s()
            self._console.print(self.line(now_s, reading))

    def panel(self, now_s: float, reading: Reading) -> Group:
        """What a terminal shows."""
        sent, ended, tokens = self._rates()
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_row(
            "sent/s", f"{sent:.1f}", "TTFT p50", _milliseconds(reading.ttft_s, 0.5), "p99", _p99(reading.ttft_s)
        )
        table.add_row(
            "done/s", f"{ended:.1f}", "TPOT p50", _milliseconds(reading.tpot_s, 0.5), "p99", _p99(reading.tpot_s)
        )
        table.add_row("tokens/s", f"{tokens:,.0f}", "in flight", str(reading.num_in_flight), "", "")
        return Group(Text(self._title, "bold"), self._bar(now_s, reading), table, _errors(reading), _late(reading))

    def line(self, now_s: float, reading: Reading) -> str:
        """What a log shows."""
        sent, ended, tokens = self._rates()
        return (
            f"{now_s:6.0f} s  sent {sent:.1f}/s  done {ended:.1f}/s  {tokens:,.0f} tokens/s  "
            f"in flight {reading.num_in_flight}  TTFT p99 {_p99(reading.ttft_s)}  TPOT p99 {_p99(reading.tpot_s)}  "
            f"failed {reading.num_failed}"
        )

    def _bar(self, now_s: float, reading: Reading) -> Table:
        bar = Table.grid(padding=(0, 1))
        if self._num_requests:
            share, text = (
                reading.num_ended / self._num_requests,
                f"{reading.num_ended} of {self._num_requests} requests",
            )
        elif self._duration_s < float("inf"):
            share, text = now_s / self._duration_s, f"{now_s:.0f} of {self._duration_s:.0f} s"
            if share > 1:
                text = f"waiting for {reading.num_in_flight} answers"
        else:
            share, text = 0.0, f"{now_s:.0f} s, {reading.num_ended} requests"
        bar.add_row(ProgressBar(total=1.0, completed=min(1.0, share), width=40), text)
        return bar

    def _rates(self) -> tuple[float, float, float]:
        """Sent, ended and tokens per second over the last moments."""
        (began_s, *first), (ended_s, *last) = self._past[0], self._past[-1]
        span_s = ended_s - began_s
        if span_s <= 0:
            return 0.0, 0.0, 0.0
        sent, ended, tokens = ((after - before) / span_s for before, after in zip(first, last, strict=True))
        return sent, ended, tokens


def _errors(reading: Reading) -> Text:
    if not reading.failures:
        return Text("no errors", "dim")
    found = ", ".join(f"{count} {kind}" for kind, count in reading.failures.most_common())
    return Text(f"failed: {found}", "red")


def _late(reading: Reading) -> Text:
    late = f"client late by at most {reading.max_lateness_s * 1e3:.1f} ms"
    return Text(late, "red" if reading.max_lateness_s > _LATE_S else "dim")


def _p99(values: list[float]) -> str:
    return _milliseconds(values, 0.99)


def _milliseconds(values: list[float], fraction: float) -> str:
    value = quantile(values, fraction)
    return "-" if value is None else f"{value * 1e3:.1f} ms"
