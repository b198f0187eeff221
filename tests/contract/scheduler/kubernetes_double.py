"""A small double of the Kubernetes API server: the calls of ours, strictly, and what may go wrong with them.

It refuses what a real one would: other paths and verbs (405), other content types (415), a wrong token (401), what the
role of the chart does not allow (403), a patch based on an old version (409). `refuse_next` adds 429 and others.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig

TOKEN = "secret-token"
NAMESPACE = "serving"
POOLS = ("penstock-prefill", "penstock-decode", "penstock-encoder")
RULES = {  # as charts/penstock grants them
    ("pods", "watch"),
    ("deployments/scale", "get"),
    ("deployments/scale", "patch"),
    ("events", "create"),
}


class Refusal(Exception):
    """What a call gets instead of an answer."""

    def __init__(self, code: int, message: str = "refused", retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.code = code
        details = {"retryAfterSeconds": retry_after_s} if retry_after_s else None
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        self.status: dict[str, Any] = {**status, "details": details}


@dataclass(frozen=True)
class Call:
    """One request, whole."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def is_watch(self) -> bool:
        is_pods = self.path == f"/api/v1/namespaces/{NAMESPACE}/pods"
        return is_pods and self.method == "GET" and self.query.get("watch") == "true"


@dataclass
class KubernetesDouble:
    """State of one namespace, and a log of the calls that were let in."""

    replicas: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POOLS, 2))
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POOLS, 100))
    rules: set[tuple[str, str]] = field(default_factory=lambda: set(RULES))
    calls: list[tuple[str, str, Any]] = field(default_factory=list)  # verb, resource/name, body
    events: list[Any] = field(default_factory=list)
    refuse_next: list[Refusal] = field(default_factory=list)
    before_patch: Callable[[], None] = lambda: None
    watches: list["asyncio.Queue[Any]"] = field(default_factory=list)
    watch_versions: list[str | None] = field(default_factory=list)
    url: str = ""

    def client(self, token: str = TOKEN) -> AsyncClient:
        cluster = {"name": "c", "cluster": {"server": self.url}}
        user = {"name": "u", "user": {"token": token}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
        config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
        return AsyncClient(KubeConfig.from_dict(config), trust_env=False)

    def say(self, what: str, pod: str, *, is_ready: bool = True, version: int = 1, phase: str = "Running") -> None:
        """An event of the pod watch."""
        self.send({"type": what, "object": _pod(pod, is_ready, version, phase)})

    def send(self, line: Any) -> None:
        for queue in self.watches:
            queue.put_nowait(line)

    def drop_watch(self) -> None:
        """The connection of every watch breaks."""
        self.send(None)
        self.watches.clear()

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        query = dict(part.split("=", 1) for part in scope["query_string"].decode().split("&") if part)
        message: Any = {"more_body": True}
        body = b""
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        call = Call(scope["method"], scope["path"], query, headers, json.loads(body) if body else None)
        try:
            if call.is_watch:
                await self._watch(call, receive, send)
            else:
                await _answer(send, *self._serve(call))
        except Refusal as refusal:
            await _answer(send, refusal.code, refusal.status)

    def _serve(self, call: Call) -> tuple[int, Any]:
        deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/"
        if call.path == f"/api/v1/namespaces/{NAMESPACE}/events" and call.method == "POST":
            self._admit(call, "events", "create")
            return self._create_event(call.body)
        verb = {"GET": "get", "PATCH": "patch"}.get(call.method)
        if verb and call.path.startswith(deployments) and call.path.endswith("/scale"):
            name = call.path.removeprefix(deployments).removesuffix("/scale")
            self._admit(call, "deployments/scale", verb)
            return self._scale(verb, name, call)
        raise Refusal(405, f"{call.method} {call.path} is no call of ours")

    def _admit(self, call: Call, resource: str, verb: str) -> None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "Unauthorized")
        if self.refuse_next:
            raise self.refuse_next.pop(0)
        if (resource, verb) not in self.rules:
            raise Refusal(403, f'cannot {verb} resource "{resource}"')

    def _scale(self, verb: str, name: str, call: Call) -> tuple[int, Any]:
        if name not in self.replicas:
            raise Refusal(404, f'deployments.apps "{name}" not found')
        self.calls.append((verb, name, call.body))
        if verb == "patch":
            if call.headers.get("content-type") != "application/merge-patch+json":
                raise Refusal(415, f"{call.headers.get('content-type')} is no merge patch")
            self.before_patch()
            if call.body["metadata"]["resourceVersion"] != str(self.versions[name]):
                raise Refusal(409, "the object has been modified")
            self.replicas[name] = call.body["spec"]["replicas"]
            self.versions[name] += 1
        metadata = {"name": name, "namespace": NAMESPACE, "resourceVersion": str(self.versions[name])}
        spec = {"replicas": self.replicas[name]}
        return 200, {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec}

    def _create_event(self, event: Any) -> tuple[int, Any]:
        if event["metadata"].get("namespace") != event["involvedObject"].get("namespace"):
            raise Refusal(422, "involvedObject.namespace: does not match event.namespace")
        self.events.append(event)
        return 201, {**event, "kind": "Event", "apiVersion": "v1"}

    async def _watch(self, call: Call, receive: Any, send: Any) -> None:
        self._admit(call, "pods", "watch")
        self.watch_versions.append(call.query.get("resourceVersion"))
        self.calls.append(("watch", "pods", call.query["labelSelector"]))
        lines: asyncio.Queue[Any] = asyncio.Queue()
        self.watches.append(lines)
        leaving = asyncio.create_task(_leave(receive, lines))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        while (line := await lines.get()) is not None:
            await send({"type": "http.response.body", "body": json.dumps(line).encode() + b"\n", "more_body": True})
        leaving.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _leave(receive: Any, lines: "asyncio.Queue[Any]") -> None:
    """The client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    lines.put_nowait(None)


def _pod(name: str, is_ready: bool, version: int, phase: str) -> Any:
    condition = {"type": "Ready", "status": "True" if is_ready else "False"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": NAMESPACE, "resourceVersion": str(version)},
        "spec": {"containers": []},
        "status": {"phase": phase, "conditions": [condition]},
    }


async def _answer(send: Any, code: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@asynccontextmanager
async def kubernetes() -> AsyncIterator[KubernetesDouble]:
    """The double, listening on loopback."""
    double = KubernetesDouble()
    config = uvicorn.Config(double, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    double.url = f"http://127.0.0.1:{port}"
    try:
        yield double
    finally:
        double.drop_watch()
        server.should_exit = True
        await serving
