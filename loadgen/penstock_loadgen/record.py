"""What came of one request, as the client saw it; the same for a live endpoint and for the simulator.

All times are seconds since the run began.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from penstock.core.timeline import Slo, Timeline, meets
from penstock_loadgen.exchange import CANCELLED, OK


@dataclass(slots=True)
class RequestRecord:
    """`event_times_s` are the arrivals of pieces of the answer; the server's `usage` says how many tokens they are."""

    session: int
    turn: int
    class_name: str
    due_s: float
    sent_s: float
    ended_s: float
    kind: str = OK  # of its end
    error: str = ""  # a sentence
    num_retries: int = 0
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    num_cached_tokens: int = 0
    has_usage: bool = False
    event_times_s: Sequence[float] = field(default_factory=lambda: array("d"))
    slo: Slo = field(default_factory=Slo)
    is_warm_up: bool = False

    @property
    def lateness_s(self) -> float:
        """How much later than planned it was sent: the client's own fault."""
        return max(0.0, self.sent_s - self.due_s)

    @property
    def is_success(self) -> bool:
        return self.kind == OK

    @property
    def is_failed(self) -> bool:
        return self.kind not in (OK, CANCELLED)

    @property
    def timeline(self) -> Timeline:
        """For `core.timeline`'s arithmetic: one time per token.

        First and last are measured. Tokens that shared an event, of which only the number is known, stand at the end,
        so that TPOT is (last - first) / (tokens - 1) as everywhere.
        """
        times = list(self.event_times_s)
        num_more = self.num_output_tokens - len(times)
        if times and num_more > 0:
            times += [times[-1]] * num_more
        elif len(times) > 1 and self.num_output_tokens > 1:
            times = [*times[: self.num_output_tokens - 1], times[-1]]
        return Timeline(self.sent_s, token_times_s=times, finished_s=self.ended_s if self.is_success else None)

    @property
    def ttft_s(self) -> float | None:
        return self.event_times_s[0] - self.sent_s if self.event_times_s else None

    @property
    def itl_s(self) -> list[float]:
        """Gaps between events."""
        return [later - earlier for earlier, later in pairwise(self.event_times_s)]

    @property
    def is_met(self) -> bool:
        return meets(self.timeline, self.slo)

    def as_data(self) -> dict[str, Any]:
        """One JSON line: offsets from `sent_s`, in seconds to the microsecond."""
        timeline = self.timeline
        data: dict[str, Any] = {
            "session": self.session,
            "turn": self.turn,
            "class": self.class_name,
            "due_s": _rounded(self.due_s),
            "sent_s": _rounded(self.sent_s),
            "is_warm_up": self.is_warm_up,
            "end": self.kind or "ok",
            "num_retries": self.num_retries,
            "num_prompt_tokens": self.num_prompt_tokens,
            "num_output_tokens": self.num_output_tokens,
            "num_cached_tokens": self.num_cached_tokens,
            "has_usage": self.has_usage,
            "ttft_s": _rounded(timeline.ttft_s),
            "tpot_s": _rounded(timeline.tpot_s),
            "e2e_s": _rounded(self.ended_s - self.sent_s),
            "is_met": self.is_met,
            "event_offsets_s": [round(at_s - self.sent_s, 6) for at_s in self.event_times_s],
        }
        return {**data, "error": self.error} if self.error else data


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
