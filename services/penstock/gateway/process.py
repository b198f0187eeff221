"""The gateway process: HTTP in, tokens out."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from penstock.core.errors import InvalidSettings
from penstock.core.policies.scenario_groups import GroupRule, parse_rule, tenants_of
from penstock.core.timeline import Slo
from penstock.gateway.api.app import App
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.request_log import RequestLog
from penstock.gateway.api.service import ApiLimits, ServedModel, Service
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.grouped_dispatcher import GroupedDispatcher
from penstock.gateway.grpc_network import GrpcNetwork
from penstock.gateway.images.addresses import is_any, is_public
from penstock.gateway.images.fetch import Fetcher
from penstock.gateway.images.reader import ImageLimits, ImageReader
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.model_folder import load_model_folder
from penstock.gateway.watch import Watch
from penstock.runtime import clock
from penstock.runtime.channel import Channels
from penstock.runtime.lifecycle import new_incarnation
from penstock.runtime.metrics import process_registry
from penstock.runtime.otlp import tracing
from penstock.runtime.settings import GatewaySettings
from penstock.runtime.tls import load_tls
from penstock.wire.messages import Hello

# Longer than load balancers keep idle connections, so that they never send on one that is just being closed.
KEEP_ALIVE_S = 75
BACKLOG = 2048

log = logging.getLogger(__name__)


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> int:
    """Serve until `stop`, then take nothing new and let open answers end within the drain timeout."""
    model = load_model_folder(Path(settings.model), settings.served_model_name, int(clock.wall_s()))
    rules = tuple(map(parse_rule, settings.group_rules))
    registry = process_registry()
    metrics = GatewayMetrics(registry, model.name)
    listener = _listen(settings.host, settings.port)
    async with contextlib.AsyncExitStack() as stack:
        channels = Channels(load_tls(settings.tls_folder))
        stack.push_async_callback(channels.close)
        tracer = stack.enter_context(tracing("gateway", settings.gateway_id, registry))
        dispatcher = _dispatcher(settings, rules, Watch(metrics, tracer), channels)
        stack.push_async_callback(dispatcher.close)
        metrics.watch_load(lambda: dispatcher.num_requests, lambda: dispatcher.num_waiting)
        images = _images(settings, model, metrics)
        if images is not None:
            stack.callback(images.close)
        service = Service(
            gateway_id=settings.gateway_id,
            model=model,
            dispatcher=dispatcher,
            metrics=metrics,
            keys=ApiKeys(settings.api_keys, tenants_of(rules)),
            limits=ApiLimits(settings.default_max_tokens, settings.max_body_bytes, settings.max_num_choices),
            now_s=clock.now_s,
            wall_s=clock.wall_s,
            is_stopping=stop.is_set,
            requests=RequestLog(metrics),
            tracer=tracer,
            objectives=Slo(settings.ttft_slo_s, settings.tpot_slo_s),
            images=images,
        )
        await dispatcher.start()
        await serve_http(App(service), listener, stop, settings.drain_timeout_s)
    return 0


def _images(settings: GatewaySettings, model: ServedModel, metrics: GatewayMetrics) -> ImageReader | None:
    """For a model that sees."""
    if model.vision is None:
        return None
    limits = ImageLimits(settings.max_num_images, settings.max_image_bytes)
    rules = {"public": is_public, "any": is_any}
    fetcher = Fetcher(rules[settings.image_urls]) if settings.image_urls in rules else None
    return ImageReader(model.vision, limits, fetcher, metrics, clock.now_s)


def _dispatcher(
    settings: GatewaySettings, rules: Sequence[GroupRule], watch: Watch, channels: Channels
) -> GroupedDispatcher:
    limits = DispatchLimits(
        give_up_s=settings.max_queue_s,
        max_num_waiting=settings.max_num_queued,
        silence_timeout_s=settings.stall_timeout_s,
    )
    incarnation = new_incarnation()
    network = GrpcNetwork(settings.scheduler_address, channels)
    dispatchers: dict[str, RoutedDispatcher] = {}
    for group in dict.fromkeys((settings.group, *(rule.group for rule in rules))):
        # handles are unique within a dispatcher: a worker that moves to another group must not mix them up
        name = settings.gateway_id if group == settings.group else f"{settings.gateway_id}/{group}"
        dispatchers[group] = RoutedDispatcher(Hello(name, incarnation, 0), group, network, watch, limits)
    return GroupedDispatcher(dispatchers, rules, settings.group)


class _HttpServer(uvicorn.Server):
    """Signals are the process's own business (runtime.lifecycle)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_http(app: App, listener: socket.socket, stop: asyncio.Event, drain_timeout_s: float) -> None:
    """Run the HTTP server on a bound socket until `stop`; open answers may then go on for `drain_timeout_s`."""
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
    )
    server = _HttpServer(config)
    host, port = listener.getsockname()[:2]
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        feeding = group.create_task(app.feed.run())
        # what lives now lives for ever; collections need not look at it
        gc.collect()
        gc.freeze()
        log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        await stop.wait()
        server.should_exit = True
        await serving  # viewers of the feed look at `stop` when it beats
        feeding.cancel()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidSettings("port", port, f"cannot listen on {host}: {error.strerror}") from error
