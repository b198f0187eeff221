"""What the gateway tells of itself and of the system: models, health, readiness, metrics, membership."""

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import penstock
from penstock.core.errors import ModelNotFound, NoWorkers
from penstock.core.pools import RoleChange
from penstock.core.types import WorkerState
from penstock.gateway.api.caller import Caller
from penstock.gateway.api.error_body import error_body
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.service import Service
from penstock.gateway.page import PAGE, PAGE_HEADERS
from penstock.wire.messages import MembershipView

MODELS_PATH = "/v1/models"


async def page(_service: Service, exchange: Exchange, _caller: Caller) -> None:
    """The live page: one document, with its style and its program in it."""
    await exchange.respond(PAGE, content_type=b"text/html; charset=utf-8", headers=PAGE_HEADERS)


async def models(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """The models served: one."""
    await exchange.respond_json({"object": "list", "data": [_model(service)]})


async def model(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """One model by name; names may have slashes."""
    name = exchange.path.removeprefix(f"{MODELS_PATH}/")
    if name != service.model.name:
        raise ModelNotFound(name[:128], service.model.name)
    await exchange.respond_json(_model(service))


def _model(service: Service) -> dict[str, Any]:
    served = service.model
    return {
        "id": served.name,
        "object": "model",
        "created": served.created_s,
        "owned_by": "penstock",
        "max_model_len": served.max_context_tokens,
    }


async def health(_service: Service, exchange: Exchange, _caller: Caller) -> None:
    """This process lives. Says nothing of others: a probe must not restart a gateway because workers are away."""
    await exchange.respond_json({"status": "ok"})


async def ready(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """Requests can be answered: there is a worker for each stage. A no is an answer, not an error to count or log."""
    reason = _missing(service)
    if reason is None:
        await exchange.respond_json({"status": "ready"})
    else:
        await exchange.respond(error_body(NoWorkers(reason)), NoWorkers.http_status)


def _missing(service: Service) -> str | None:
    if service.is_stopping():
        return "The gateway is stopping."
    workers = [worker for view in service.dispatcher.membership() for worker in view.workers]
    if not any(worker.takes_prefill for worker in workers):
        return "No prefill worker is known yet."
    if not any(worker.takes_decode for worker in workers):
        return "No decode worker is known yet."
    return None


async def metrics(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """For Prometheus."""
    await exchange.respond(generate_latest(service.metrics.registry), content_type=CONTENT_TYPE_LATEST.encode())


async def targets(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """Every /metrics there is, in the form of Prometheus's HTTP service discovery."""
    views = service.dispatcher.membership()
    workers = [worker.metrics_address for view in views for worker in view.workers if worker.metrics_address]
    control = [address for view in views for address in view.metrics_addresses]
    found = {"gateway": [exchange.header("host")], "worker": workers, "scheduler": list(dict.fromkeys(control))}
    await exchange.respond_json(
        [{"targets": there, "labels": {"component": component}} for component, there in found.items() if there]
    )


async def cluster(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """The system as this gateway sees it; what `penstock status` shows."""
    await exchange.respond_json(cluster_view(service))


def cluster_view(service: Service) -> dict[str, Any]:
    """The gateway, and every group with its workers."""
    gateway = {
        "id": service.gateway_id,
        "version": penstock.__version__,
        "model": service.model.name,
        "num_requests": service.dispatcher.num_requests,
        "num_waiting": service.dispatcher.num_waiting,
    }
    groups = [_group(view, service.now_s()) for view in service.dispatcher.membership()]
    return {"gateway": gateway, "groups": groups}


def _group(view: MembershipView, now_s: float) -> dict[str, Any]:
    return {
        "name": view.group,
        "router_address": view.router_address,
        "workers": [_worker(worker, now_s) for worker in view.workers],
        "steering": view.roles.steering.value,
        "role_changes": [_role_change(change, now_s) for change in view.roles.changes],
    }


def _role_change(change: RoleChange, now_s: float) -> dict[str, Any]:
    return {
        "age_s": round(now_s - change.at_s, 3),
        "subject": change.subject,
        "change": change.change,
        "reason": change.reason,
        "outcome": change.outcome,
    }


def _worker(worker: WorkerState, now_s: float) -> dict[str, Any]:
    return {
        "worker_id": worker.ref.worker_id,
        "incarnation": worker.ref.incarnation,
        "address": worker.ref.address,
        "role": worker.role.value,
        "model": worker.model,
        "revision": worker.revision,
        "num_waiting": worker.num_waiting,
        "num_running": worker.num_running,
        "num_decoding": worker.num_decoding,
        "num_blocks": worker.num_blocks,
        "num_free_blocks": worker.num_free_blocks,
        "block_size": worker.block_size,
        "num_prefill_tokens": worker.num_prefill_tokens,
        "num_context_tokens": worker.num_context_tokens,
        "token_interval_s": worker.token_interval_s,
        "is_draining": worker.is_draining,
        "heartbeat_age_s": round(now_s - worker.heartbeat_s, 3),
        "transports": dict(worker.transports),
        "version": worker.version,
        "metrics_address": worker.metrics_address,
    }
