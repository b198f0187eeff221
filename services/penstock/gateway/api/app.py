"""The ASGI application: finds the handler of a request, and makes of every failure an answer in OpenAI's shape.

Life of a request: where it begins. Nothing is between this and the server, so nothing else can fail it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from penstock.core.errors import Draining, InternalError, PenstockError
from penstock.gateway.api import generate, live, requests, state, tokens
from penstock.gateway.api.accounting import close_account
from penstock.gateway.api.caller import Caller, identify
from penstock.gateway.api.error_body import MethodNotAllowed, NotFound, error_body, error_headers
from penstock.gateway.api.exchange import Exchange, Receive, Scope, Send
from penstock.gateway.api.live import Feed
from penstock.gateway.api.pulse import Pulse
from penstock.gateway.api.request_log import RequestRecord
from penstock.gateway.api.service import Service
from penstock.runtime.telemetry import set_request_id

log = logging.getLogger(__name__)

Handler = Callable[[Service, Exchange, Caller], Awaitable[None]]


class Route(NamedTuple):
    """What a path answers to."""

    method: str
    handler: Handler
    needs_key: bool = True


ROUTES = {
    "/v1/chat/completions": Route("POST", generate.chat_completions),
    "/v1/completions": Route("POST", generate.completions),
    state.MODELS_PATH: Route("GET", state.models),
    f"{state.MODELS_PATH}/": Route("GET", state.model),  # and every path below it
    "/tokenize": Route("POST", tokens.tokenize),
    "/detokenize": Route("POST", tokens.detokenize),
    "/cluster": Route("GET", state.cluster),
    "/cluster/targets": Route("GET", state.targets, needs_key=False),
    requests.PATH: Route("GET", requests.latest),
    f"{requests.PATH}/": Route("GET", requests.one),
    # what probes, scrapers and people without a key look at
    "/health": Route("GET", state.health, needs_key=False),
    "/ready": Route("GET", state.ready, needs_key=False),
    "/metrics": Route("GET", state.metrics, needs_key=False),
    "/": Route("GET", state.page, needs_key=False),
}
COMPLETIONS = (ROUTES["/v1/chat/completions"], ROUTES["/v1/completions"])
FOLDERS = (f"{state.MODELS_PATH}/", f"{requests.PATH}/")


class App:
    """Callable as ASGI demands."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.feed = Feed(Pulse(service))  # its `run` is the process's to start
        self._routes = {**ROUTES, live.PATH: Route("GET", self.feed.live)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        path = next(filter(exchange.path.startswith, FOLDERS), exchange.path)
        route = self._routes.get(path)
        is_completion = route in COMPLETIONS and exchange.method == "POST"
        record = self._open_account(exchange, path) if is_completion else None
        error: PenstockError | None = InternalError("The answer could not be sent.")
        try:
            error = await self._try_answer(exchange, route, record)
            if error is not None:
                await self._fail(exchange, error)
        finally:
            if exchange.status:
                self._service.metrics.responses.add(path if route else "other", str(exchange.status))
            if record is not None:
                record.status = exchange.status
                close_account(self._service, record, error)

    def _open_account(self, exchange: Exchange, path: str) -> RequestRecord:
        """Before anything is known of the request, so that refused ones have one too."""
        service = self._service
        set_request_id(exchange.request_id)
        record = RequestRecord(exchange.request_id, path, service.now_s(), service.objectives)
        record.context = service.tracer.root(exchange.header("traceparent"))
        service.requests.begin(record)
        return record

    async def _try_answer(
        self, exchange: Exchange, route: Route | None, record: RequestRecord | None
    ) -> PenstockError | None:
        """Answer, or say why not."""
        try:
            await self._answer(exchange, route, record)
        except PenstockError as error:
            return error
        except asyncio.CancelledError:  # the drain timeout is over; the client shall know why
            return Draining("The gateway is stopping; send the request again.")
        except Exception:  # the outermost loop of a request: it fails, the process lives
            log.exception("request %s to %s failed", exchange.request_id, exchange.path[:128])
            return InternalError(f"The gateway failed; its log has request {exchange.request_id}.")
        return None

    async def _answer(self, exchange: Exchange, route: Route | None, record: RequestRecord | None) -> None:
        if route is None:
            raise NotFound(f"Unknown path: {exchange.method} {exchange.path[:128]}.")
        if exchange.method != route.method and (exchange.method, route.method) != ("HEAD", "GET"):
            raise MethodNotAllowed(f"{exchange.path[:128]} answers to {route.method}, not to {exchange.method[:16]}.")
        service = self._service
        arrived_s = record.arrived_s if record else service.now_s()
        caller = identify(exchange, service.keys, arrived_s) if route.needs_key else Caller(arrived_s)
        if record is not None:
            caller = caller.with_record(record)
        await route.handler(service, exchange, caller)

    async def _fail(self, exchange: Exchange, error: PenstockError) -> None:
        self._service.metrics.errors.add(error.code)
        if error.http_status >= 500:
            log.warning("request %s: %s: %s", exchange.request_id, error.code, error.message)
        if exchange.is_streaming:
            # the status is out; OpenAI's clients raise on this event, and [DONE] does not follow
            await exchange.end_stream(b"data: " + error_body(error) + b"\n\n")
        elif not exchange.status:
            await exchange.respond(error_body(error), error.http_status, headers=error_headers(error))
