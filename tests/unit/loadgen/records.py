"""Records for tests, and what is counted in those of a run."""

from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from penstock.core.timeline import Slo
from penstock_loadgen.record import RequestRecord


def record(
    sent_s: float = 0.0, ttft_s: float = 0.1, gap_s: float = 0.01, num_tokens: int = 5, **changes: Any
) -> RequestRecord:
    """A request that went as asked for."""
    times = array("d", [sent_s + ttft_s + index * gap_s for index in range(num_tokens)])
    values: dict[str, Any] = {
        "session": 0,
        "turn": 0,
        "class_name": "default",
        "due_s": sent_s,
        "sent_s": sent_s,
        "ended_s": times[-1] if times else sent_s + ttft_s,
        "num_prompt_tokens": 50,
        "num_output_tokens": num_tokens,
        "has_usage": True,
        "event_times_s": times,
        "slo": Slo(ttft_s=0.2),
    }
    return RequestRecord(**{**values, **changes})


def most_at_once(records: Iterable[RequestRecord]) -> int:
    """The most that were under way at a time."""
    changes = sorted(change for one in records for change in ((one.sent_s, 1), (one.ended_s, -1)))
    return max(accumulate(change for _, change in changes))
