"""`penstock trace`: one request as a waterfall."""

import io
from typing import Any

from rich.console import Console

from penstock.cli import trace

REQUEST: dict[str, Any] = {
    "request_id": "mine",
    "answer_id": "cmpl-1",
    "state": "finished",
    "age_s": 9.0,
    "path": "/v1/completions",
    "tenant": "acme",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "status": 200,
    "code": "",
    "num_prompt_tokens": 12,
    "num_cached_tokens": 4,
    "num_output_tokens": 20,
    "ttft_s": 0.5,
    "e2e_s": 2.0,
    "sequences": [
        {
            "stages": [
                {"stage": "route", "where": "", "began_s": 0.001, "ended_s": 0.002},
                {"stage": "prefill", "where": "prefill-0", "began_s": 0.0, "ended_s": 1.0},
                {"stage": "decode", "where": "decode-1", "began_s": 1.0, "ended_s": 2.0},
            ],
            "first_token_s": 0.5,
            "last_token_s": 2.0,
            "num_tokens": 20,
            "num_resumes": 1,
            "itl_s": {"p50": 0.005, "p99": 0.008, "max": 1.25},
            "finish_reason": "length",
        }
    ],
}


def shown(part: Any) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(part)
    return console.export_text()


def test_the_headline_says_what_was_asked_and_what_came_of_it() -> None:
    text = shown(trace.headline(REQUEST))
    for piece in ("mine", "200", "acme", "12 prompt tokens (4 cached)", "20 output tokens", "500.0 ms", "2.00 s"):
        assert piece in text


def test_bars_lie_where_the_time_went() -> None:
    lines = shown(trace.waterfall(REQUEST["sequences"][0], REQUEST, "")).splitlines()
    rows = {line.split()[0]: line for line in lines if line.strip()}
    half = trace.BAR_WIDTH // 2
    start = rows["prefill"].index("█")
    assert rows["prefill"].count("█") == rows["decode"].count("█") == half
    assert rows["decode"].index("█") == start + half
    assert "decode-1" in rows["decode"] and "gateway" in rows["route"]
    assert "▏" in rows["route"]
    assert any("resumed 1 times" in line for line in lines)


def test_a_running_request_has_no_end() -> None:
    running = {**REQUEST, "state": "running", "e2e_s": None, "ttft_s": None}
    text = shown(trace.headline(running))
    assert "running" in text and "end after -" in text
