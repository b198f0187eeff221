"""What the headers of a request say: whose it is, how urgent, how long it may take to its first token."""

import re
from dataclasses import replace
from typing import NamedTuple, Self

from penstock.core.errors import InvalidRequest
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.request_log import RequestRecord
from penstock.runtime.tracing import is_traceparent

TTFT_HEADER = "x-llm-d-slo-ttft-ms"  # milliseconds: the ecosystem fixed the name; also the first token's deadline
TPOT_HEADER = "x-llm-d-slo-tpot-ms"  # what attainment is counted against
TENANT_HEADER = "x-tenant-id"  # counted by it where there are no API keys
PRIORITY_HEADER = "x-penstock-priority"  # larger is more urgent


class Caller(NamedTuple):
    """Who asks, since when, and on what terms. Times are of the local monotonic clock."""

    arrived_s: float = 0.0
    salt: bytes = b""  # of the tenant's prefix hashes
    first_token_deadline_s: float = float("inf")
    priority: int = 0
    traceparent: str = ""
    tenant: str = ""  # whom it counts as: in metrics, in rules, in the turns that workers take
    ttft_s: float | None = None  # objectives of its own
    tpot_s: float | None = None
    record: RequestRecord | None = None  # of a request for completions

    def with_record(self, record: RequestRecord) -> Self:
        """Enter who asks, and let what is done for it be told as part of its span."""
        record.tenant = self.tenant
        record.objectives = replace(
            record.objectives,
            ttft_s=self.ttft_s or record.objectives.ttft_s,
            tpot_s=self.tpot_s or record.objectives.tpot_s,
        )
        traceparent = record.context.traceparent if record.context else self.traceparent
        return self._replace(record=record, traceparent=traceparent)


def identify(exchange: Exchange, keys: ApiKeys, now_s: float) -> Caller:
    """Check the API key and read the terms."""
    tenant = keys.tenant(exchange.header("authorization"), exchange.header(TENANT_HEADER))
    ttft_s, tpot_s = _objective(exchange, TTFT_HEADER), _objective(exchange, TPOT_HEADER)
    priority = _number(exchange, PRIORITY_HEADER, r"-?\d{1,9}", "an integer")
    traceparent = exchange.header("traceparent")
    return Caller(
        arrived_s=now_s,
        salt=tenant.salt,
        first_token_deadline_s=float("inf") if ttft_s is None else now_s + ttft_s,
        priority=int(priority or 0),
        traceparent=traceparent if is_traceparent(traceparent) else "",
        tenant=tenant.name,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
    )


def _objective(exchange: Exchange, name: str) -> float | None:
    milliseconds = _number(exchange, name, r"\d{1,9}(\.\d{1,6})?", "a number of milliseconds above 0")
    if milliseconds == 0:
        raise InvalidRequest(f"Header '{name}' must be a number of milliseconds above 0.", name)
    return None if milliseconds is None else milliseconds / 1000


def _number(exchange: Exchange, name: str, form: str, meaning: str) -> float | None:
    text = exchange.header(name)
    if not text:
        return None
    if not re.fullmatch(form, text, re.ASCII):
        raise InvalidRequest(f"Header '{name}' must be {meaning}.", name)
    return float(text)
