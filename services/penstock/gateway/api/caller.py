"""What the headers of a request say: whose it is, how urgent, how long it may take to its first token."""

import re
from typing import NamedTuple

from penstock.core.errors import InvalidRequest
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.exchange import Exchange

TTFT_HEADER = "x-llm-d-slo-ttft-ms"  # milliseconds: the ecosystem fixed the name
PRIORITY_HEADER = "x-penstock-priority"  # larger is more urgent

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Caller(NamedTuple):
    """Who asks, since when, and on what terms. Times are of the local monotonic clock."""

    arrived_s: float = 0.0
    salt: bytes = b""  # of the tenant's prefix hashes
    first_token_deadline_s: float = float("inf")
    priority: int = 0
    traceparent: str = ""


def identify(exchange: Exchange, keys: ApiKeys, now_s: float) -> Caller:
    """Check the API key and read the terms."""
    salt = keys.tenant_salt(exchange.header("authorization"))
    ttft_ms = _number(exchange, TTFT_HEADER, r"\d{1,9}(\.\d{1,6})?", "a number of milliseconds above 0")
    if ttft_ms == 0:
        raise InvalidRequest(f"Header '{TTFT_HEADER}' must be a number of milliseconds above 0.", TTFT_HEADER)
    deadline_s = float("inf") if ttft_ms is None else now_s + ttft_ms / 1000
    priority = _number(exchange, PRIORITY_HEADER, r"-?\d{1,9}", "an integer")
    traceparent = exchange.header("traceparent")
    # W3C: what does not parse is dropped, never refused
    is_trace = _TRACEPARENT.fullmatch(traceparent) is not None
    return Caller(now_s, salt, deadline_s, int(priority or 0), traceparent if is_trace else "")


def _number(exchange: Exchange, name: str, form: str, meaning: str) -> float | None:
    text = exchange.header(name)
    if not text:
        return None
    if not re.fullmatch(form, text, re.ASCII):
        raise InvalidRequest(f"Header '{name}' must be {meaning}.", name)
    return float(text)
