"""/cluster/requests: where the time of running and recent requests went.

`age_s` and every time of a sequence count from the request's arrival at this gateway, in seconds of its clock.

    {"requests": [{"request_id", "answer_id", "state": "running" | "finished", "age_s", "path", "tenant", "trace_id",
                   "is_streamed", "status", "code", "num_prompt_tokens", "num_images", "num_cached_tokens",
                   "num_output_tokens", "ttft_s", "e2e_s", "sequences": [{"stages": [{"stage", "where", "began_s",
                   "ended_s"}], "first_token_s", "last_token_s", "num_tokens", "num_resumes", "itl_s": {"p50", "p99",
                   "max"}, "finish_reason"}]}]}
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from penstock.core.errors import InvalidRequest
from penstock.core.timeline import Span
from penstock.gateway.api.caller import Caller
from penstock.gateway.api.choice import Choice
from penstock.gateway.api.error_body import NotFound
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.request_log import NUM_REMEMBERED, EndedSequence, RequestRecord
from penstock.gateway.api.service import Service

PATH = "/cluster/requests"


async def latest(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """All running requests and the last finished ones; `?limit=N` of these."""
    text = exchange.query("limit") or "32"
    if not text.isdecimal() or len(text) > 4 or int(text) > NUM_REMEMBERED:  # int() takes no thousands of digits
        raise InvalidRequest(f"'limit' must be a number from 0 to {NUM_REMEMBERED}.", "limit")
    now_s = service.now_s()
    await exchange.respond_json({"requests": [show(record, now_s) for record in service.requests.latest(int(text))]})


async def one(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """One request, by the client's id or the answer's."""
    name = exchange.path.removeprefix(f"{PATH}/")
    record = service.requests.find(name)
    if record is None:
        raise NotFound(
            f"This gateway knows no request '{name[:128]}': it remembers those that run and the last {NUM_REMEMBERED}."
        )
    await exchange.respond_json(show(record, service.now_s()))


def show(record: RequestRecord, now_s: float) -> dict[str, Any]:
    """A request as JSON has it."""
    arrived_s = record.arrived_s
    running = [_running(choice, arrived_s) for choice in record.choices]
    sequences = running or [_ended(sequence, arrived_s) for sequence in record.sequences]
    return {
        "request_id": record.request_id,
        "answer_id": record.answer_id,
        "state": "running" if record.finished_s is None else "finished",
        "age_s": round(now_s - arrived_s, 6),
        "path": record.path,
        "tenant": record.tenant,
        "trace_id": record.context.trace_id if record.context else "",
        "is_streamed": record.is_streamed,
        "status": record.status,
        "code": record.code,
        "num_prompt_tokens": record.num_prompt_tokens,
        "num_images": record.num_images,
        "num_cached_tokens": record.num_cached_tokens,
        "num_output_tokens": record.num_output_tokens,
        "ttft_s": min((s["first_token_s"] for s in sequences if s["first_token_s"] is not None), default=None),
        "e2e_s": _after(arrived_s, record.finished_s),
        "sequences": sequences,
    }


def _running(choice: Choice, arrived_s: float) -> dict[str, Any]:
    timeline = choice.generation.timeline
    times = timeline.token_times_s
    return {
        "stages": _stages(timeline.spans, arrived_s),
        "first_token_s": _after(arrived_s, times[0] if times else None),
        "last_token_s": _after(arrived_s, times[-1] if times else None),
        "num_tokens": choice.num_tokens,
        "num_resumes": choice.generation.num_resumes,
        "itl_s": {},
        "finish_reason": None,
    }


def _ended(sequence: EndedSequence, arrived_s: float) -> dict[str, Any]:
    return {
        "stages": _stages(sequence.spans, arrived_s),
        "first_token_s": _after(arrived_s, sequence.first_token_s),
        "last_token_s": _after(arrived_s, sequence.last_token_s),
        "num_tokens": sequence.num_tokens,
        "num_resumes": sequence.num_resumes,
        "itl_s": sequence.itl_s,
        "finish_reason": sequence.finish_reason or None,
    }


def _stages(spans: Sequence[Span], arrived_s: float) -> list[dict[str, Any]]:
    return [
        {
            "stage": span.stage.value,
            "where": span.where,
            "began_s": _after(arrived_s, span.began_s),
            "ended_s": _after(arrived_s, span.ended_s),
        }
        for span in sorted(spans, key=attrgetter("began_s"))
    ]


def _after(arrived_s: float, at_s: float | None) -> float | None:
    return None if at_s is None else round(at_s - arrived_s, 6)
