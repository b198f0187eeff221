"""What is owed for every request for completions, once, when it has ended: counts by tenant, its objectives, its span,
its one line in the log, its place among the remembered.

Life of a request: after step 10.
"""

import logging

from penstock.core.errors import Overloaded, PenstockError, RequestCancelled
from penstock.gateway.api.request_log import RequestRecord
from penstock.gateway.api.service import Service
from penstock.runtime.tracing import Attribute, FinishedSpan, SpanKind

log = logging.getLogger(__name__)

_OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}  # in OpenTelemetry's words


def outcome_of(error: PenstockError | None) -> str:
    """How a request ended, as `penstock_requests_total` has it."""
    if error is None:
        return "answered"
    if isinstance(error, RequestCancelled):
        return "cancelled"
    if isinstance(error, Overloaded):
        return "shed"
    return "invalid" if error.http_status < 500 else "failed"


def close_account(service: Service, record: RequestRecord, error: PenstockError | None) -> None:
    """Once per request, whatever became of it."""
    record.code = error.code if error else ""
    service.requests.end(record, service.now_s())
    outcome = outcome_of(error)
    _count(service, record, outcome)
    _judge(service, record, outcome)
    if record.context is not None:
        _trace(service, record, outcome, error)
    _write(record, outcome)


def _count(service: Service, record: RequestRecord, outcome: str) -> None:
    metrics, tenant = service.metrics, record.tenant
    metrics.requests.add(tenant, outcome)
    metrics.tenant_tokens.add(tenant, "prompt", by=record.num_prompt_tokens)
    metrics.tenant_tokens.add(tenant, "cached", by=record.num_cached_tokens)
    metrics.tenant_tokens.add(tenant, "output", by=record.num_output_tokens)
    if outcome == "cancelled":
        metrics.cancellations.add("waiting" if record.first_token_s is None else "streaming")
    elif record.code:
        metrics.refusals.add(tenant, record.code)


def _judge(service: Service, record: RequestRecord, outcome: str) -> None:
    """Against its objectives. Those of a client that left are judged by the tokens it got; without any, or when the
    request was wrong, nothing is held against us.
    """
    slo, objectives = service.metrics.slo, record.objectives
    if outcome in ("shed", "failed"):
        for objective in ("ttft", "tpot"):
            slo.add(objective, "missed", by=max(1, len(record.sequences)))
        return
    for sequence in record.sequences:
        if sequence.first_token_s is not None:
            ttft_s = sequence.first_token_s - record.arrived_s
            slo.add("ttft", "met" if ttft_s <= objectives.ttft_s else "missed")
            slo.add("tpot", "met" if sequence.tpot_s <= objectives.tpot_s else "missed")


def _trace(service: Service, record: RequestRecord, outcome: str, error: PenstockError | None) -> None:
    """The root of the gateway's part, by OpenTelemetry's conventions for HTTP servers and for generative AI."""
    assert record.context is not None and record.finished_s is not None, "it is traced, and it has ended"
    operation, model = _OPERATIONS[record.path], service.model.name
    attributes: dict[str, Attribute] = {
        "http.request.method": "POST",
        "http.route": record.path,
        "http.response.status_code": record.status,
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "penstock",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": record.answer_id,
        "gen_ai.response.finish_reasons": tuple(sequence.finish_reason for sequence in record.sequences),
        "gen_ai.usage.input_tokens": record.num_prompt_tokens,
        "gen_ai.usage.output_tokens": record.num_output_tokens,
        **record.attributes,
        "penstock.request_id": record.request_id,
        "penstock.tenant": record.tenant,
        "penstock.outcome": outcome,
        "penstock.num_images": record.num_images,
        "penstock.num_cached_tokens": record.num_cached_tokens,
        "penstock.num_resumes": sum(sequence.num_resumes for sequence in record.sequences),
    }
    if record.first_token_s is not None:
        attributes["penstock.ttft_s"] = record.first_token_s - record.arrived_s
    sentence = error.message if error is not None and error.http_status >= 500 else ""
    service.tracer.record(
        FinishedSpan(
            record.context,
            f"{operation} {model}",
            SpanKind.SERVER,
            record.arrived_s,
            record.finished_s,
            attributes,
            sentence,
        )
    )


def _write(record: RequestRecord, outcome: str) -> None:
    """The one line of a request. Collectors get its figures as fields, people read them."""
    if not log.isEnabledFor(logging.INFO):
        return
    assert record.finished_s is not None, "it has ended"
    figures: dict[str, object] = {
        "outcome": outcome,
        "code": record.code,
        "status": record.status,
        "path": record.path,
        "tenant": record.tenant,
        "answer_id": record.answer_id,
        "trace_id": record.context.trace_id if record.context else "",
        "num_prompt_tokens": record.num_prompt_tokens,
        "num_images": record.num_images,
        "num_cached_tokens": record.num_cached_tokens,
        "num_output_tokens": record.num_output_tokens,
        "num_resumes": sum(sequence.num_resumes for sequence in record.sequences),
        "e2e_s": round(record.finished_s - record.arrived_s, 6),
    }
    if record.first_token_s is not None:
        figures["ttft_s"] = round(record.first_token_s - record.arrived_s, 6)
    figures |= {f"{stage}_s": round(seconds, 6) for stage, seconds in record.stage_s().items()}
    log.info("request ended", extra={"request_id": record.request_id, "figures": figures})
