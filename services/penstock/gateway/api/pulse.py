"""The last minutes of this gateway, sampled once a second: rates, percentiles, who was in which pool.

It reads the very counters that `/metrics` serves, so page, `penstock top` and Prometheus cannot disagree.

    samples  [t-60 .. t]  counters and bucket counts      differences give rates and percentiles of the window
    points   [t-600 .. t] one small row a second          what the charts draw; a new viewer gets all of them at once
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.histogram import quantile
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerState
from penstock.gateway.api.service import Service

INTERVAL_S = 1.0
WINDOW_S = 60  # of percentiles and outcomes
RATE_WINDOW_S = 10
NUM_POINTS = 600

POINT = ("age_s", "prefill", "decode", "mixed", "encoder", "requests_per_s", "tokens_per_s", "ttft_p50_s", "ttft_p99_s")
"""Columns of a point, in order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment."""

    at_s: float
    outcomes: dict[str, float]  # requests by how they ended, since the gateway began
    num_tokens: float
    ttft: Sequence[int]
    tpot: Sequence[int]


class Pulse:
    """Call `beat` once a second, whoever looks or not."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._samples: deque[Sample] = deque([self._take()], maxlen=WINDOW_S + 1)
        self._points: deque[list[float | None]] = deque(maxlen=NUM_POINTS)

    def beat(self) -> None:
        self._samples.append(self._take())
        counts = _count_roles(self._workers)
        ttft = self._quantiles("ttft")
        rate, tokens = self._rates()
        self._points.append(
            [
                self._service.now_s(),
                *(counts.get(role, 0) for role in POINT[1:5]),
                rate,
                tokens,
                ttft["p50"],
                ttft["p99"],
            ]
        )

    def history(self) -> dict[str, Any]:
        """Every point there is, oldest first."""
        now_s = self._service.now_s()
        return {"columns": POINT, "points": [_row(point, now_s) for point in self._points]}

    def state(self) -> dict[str, Any]:
        """Figures of the last seconds; `stages` counts what is under way, sequence by sequence."""
        rate, tokens = self._rates()
        first, last = self._samples[0], self._samples[-1]
        outcomes = {name: number - first.outcomes.get(name, 0.0) for name, number in last.outcomes.items()}
        return {
            "window_s": round(last.at_s - first.at_s, 1),
            "requests_per_s": rate,
            "tokens_per_s": tokens,
            "outcomes": outcomes,
            "totals": last.outcomes,
            "ttft_s": self._quantiles("ttft"),
            "tpot_s": self._quantiles("tpot"),
            "objectives": _objectives(self._service.objectives),
            "stages": self._stages(),
            "point": _row(self._points[-1], self._service.now_s()) if self._points else None,
        }

    @property
    def _workers(self) -> list[WorkerState]:
        return [worker for view in self._service.dispatcher.membership() for worker in view.workers]

    def _take(self) -> Sample:
        metrics = self._service.metrics
        outcomes: dict[str, float] = {}
        for (_, outcome), number in metrics.requests.items():
            outcomes[outcome] = outcomes.get(outcome, 0.0) + number.value
        return Sample(
            self._service.now_s(),
            outcomes,
            metrics.generation_tokens.value,
            tuple(metrics.time_to_first_token_s.counts),
            tuple(metrics.time_per_output_token_s.counts),
        )

    def _rates(self) -> tuple[float, float]:
        """Requests ended and tokens delivered per second, lately."""
        last = self._samples[-1]
        first = self._samples[max(0, len(self._samples) - 1 - RATE_WINDOW_S)]
        seconds = last.at_s - first.at_s
        if seconds <= 0:
            return 0.0, 0.0
        num_ended = sum(last.outcomes.values()) - sum(first.outcomes.values())
        return round(num_ended / seconds, 2), round((last.num_tokens - first.num_tokens) / seconds, 1)

    def _quantiles(self, name: str) -> dict[str, float | None]:
        metrics = self._service.metrics
        histogram = metrics.time_to_first_token_s if name == "ttft" else metrics.time_per_output_token_s
        counts = histogram.since(getattr(self._samples[0], name))
        return {f"p{percent}": quantile(histogram.bounds, counts, percent / 100) for percent in (50, 90, 99)}

    def _stages(self) -> dict[str, int]:
        """Of this gateway's own requests: one token and no second one yet means that KV is on its way.

        "encode" is there where the model takes images.
        """
        sees = ("encode",) if self._service.model.vision is not None else ()
        stages = dict.fromkeys(("waiting", *sees, "prefill", "transfer", "decode"), 0)
        for record in self._service.requests.running():
            for choice in record.choices:
                num_tokens = choice.num_tokens
                if choice.finish_reason is None:
                    stages["prefill" if not num_tokens else "transfer" if num_tokens == 1 else "decode"] += 1
        stages["waiting"] = self._service.dispatcher.num_waiting
        if sees:
            stages["encode"] = self._service.dispatcher.num_encoding
        stages["prefill"] = max(0, stages["prefill"] - stages["waiting"] - stages.get("encode", 0))
        return stages


def _row(point: Sequence[float | None], now_s: float) -> list[float | None]:
    """As viewers get it: its first column is an age."""
    return [round(now_s - (point[0] or 0.0), 1), *point[1:]]


def _count_roles(workers: Sequence[WorkerState]) -> dict[str, int]:
    return {role.value: sum(worker.role is role and not worker.is_draining for worker in workers) for role in Role}


def _objectives(slo: Slo) -> dict[str, float | None]:
    return {
        name: value if value != float("inf") else None
        for name, value in (("ttft_s", slo.ttft_s), ("tpot_s", slo.tpot_s))
    }
