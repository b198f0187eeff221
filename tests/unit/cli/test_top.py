"""What `penstock top` shows of one state of the feed."""

import json
from io import StringIO
from typing import Any

import httpx
import pytest
from rich.console import Console

from penstock.cli.gateway_client import connect
from penstock.cli.live_feed import states
from penstock.cli.top import screen, sparks
from penstock.core.errors import InternalError, WorkerLost

COLUMNS = [
    "age_s",
    "prefill",
    "decode",
    "mixed",
    "encoder",
    "requests_per_s",
    "tokens_per_s",
    "ttft_p50_s",
    "ttft_p99_s",
]
QUANTILES = {"p50": 0.02, "p90": 0.4, "p99": 0.9}
WORKER = {
    "worker_id": "decode-0",
    "role": "decode",
    "is_draining": False,
    "heartbeat_age_s": 0.1,
    "num_waiting": 0,
    "num_running": 3,
    "num_blocks": 100,
    "num_free_blocks": 60,
    "num_prefill_tokens": 0,
    "num_context_tokens": 640,
    "token_interval_s": 0.02,
}
CHANGE = {
    "age_s": 12.0,
    "subject": "decode-1",
    "change": "decode to prefill",
    "reason": "prefill is strained",
    "outcome": "done",
}
STATE: dict[str, Any] = {
    "gateway": {"id": "gateway", "version": "0.1.0", "model": "tiny", "num_requests": 4},
    "groups": [{"name": "default", "workers": [WORKER], "steering": "auto", "role_changes": [CHANGE]}],
    "pulse": {
        "window_s": 60.0,
        "requests_per_s": 12.3,
        "tokens_per_s": 800.0,
        "outcomes": {"answered": 700, "shed": 2},
        "totals": {"answered": 1234.0, "failed": 3.0},
        "ttft_s": QUANTILES,
        "tpot_s": {"p50": None, "p90": None, "p99": None},
        "objectives": {"ttft_s": 0.5, "tpot_s": None},
        "stages": {"waiting": 1, "prefill": 2, "transfer": 0, "decode": 5},
        "point": [0.0, 1, 1, 0, 0, 12.3, 800.0, 0.02, 0.9],
    },
}


def shown(state: Any) -> str:
    console = Console(width=100, file=StringIO())
    console.print(screen(state))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_screen_says_all_of_it() -> None:
    text = shown({**STATE, "points": [dict(zip(COLUMNS, STATE["pulse"]["point"], strict=True))]})
    for words in (
        "serves tiny",
        "12.3",
        "1234",
        "20.0 ms",
        "900.0 ms",
        "waiting 1",
        "decode 5",
        "decode-0",
        "prefill is strained",
    ):
        assert words in text


def test_sparks_reach_from_nothing_to_the_largest() -> None:
    assert sparks([0.0, 5.0, 10.0]) == "▁▅█"
    assert sparks([0.0, 0.0]) == "▁▁"


def feed(*events: tuple[str, Any]) -> httpx.Client:
    body = "".join(f"event: {name}\ndata: {json.dumps(payload)}\n\n" for name, payload in events)
    return connect("http://gateway", transport=httpx.MockTransport(lambda _: httpx.Response(200, text=body)))


def test_the_feed_keeps_the_points_of_the_history() -> None:
    history = {"columns": COLUMNS, "points": [[1.0, 2, 2, 0, 0, 1.0, 10.0, None, None]]}
    first, second = states(feed(("history", history), ("state", STATE), ("state", STATE)))
    assert [point["prefill"] for point in second["points"]] == [2, 1, 1]
    assert first["gateway"]["model"] == "tiny"


def test_the_first_state_is_not_a_second_point_and_old_points_go() -> None:
    rows = [[float(age_s), *STATE["pulse"]["point"][1:]] for age_s in range(600, 0, -1)]
    first, second = states(feed(("history", {"columns": COLUMNS, "points": rows}), ("state", STATE), ("state", STATE)))
    assert [point["age_s"] for point in first["points"]] == [row[0] for row in rows]
    assert [point["age_s"] for point in second["points"]] == [*(row[0] for row in rows[1:]), 0.0]


def test_a_gateway_that_refuses_or_is_away_is_a_sentence() -> None:
    refusal = httpx.Response(429, json={"error": {"message": "64 viewers look already."}})
    with pytest.raises(InternalError, match="64 viewers"):
        next(states(connect("http://gateway", transport=httpx.MockTransport(lambda _: refusal))))

    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(WorkerLost, match="Nothing answers"):
        next(states(connect("http://gateway", transport=httpx.MockTransport(away))))
