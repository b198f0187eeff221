"""Run the whole system on this machine, as child processes that are watched and that end with this one."""

import asyncio
import contextlib
import json
import os
import shlex
import sys
from functools import partial

import httpx

from penstock.cli.builtin_model import BUILTIN, builtin_model
from penstock.cli.local_pools import LocalPools
from penstock.cli.ports import free_port, require_free
from penstock.cli.stack import Stack, plan, up_fields, with_model
from penstock.cli.supervisor import Supervisor
from penstock.runtime import clock, lifecycle
from penstock.runtime.server import RpcServer
from penstock.runtime.settings import parse_flags
from penstock.runtime.telemetry import configure_logging
from penstock.runtime.tls import load_tls

READY_CHECK_S = 0.1
NAME_WIDTH = 10


def main(argv: list[str]) -> int:
    """Run until Ctrl-C, SIGTERM, or a failure that restarting cannot mend."""
    flags, file = parse_flags("penstock up", __doc__, up_fields(), argv)
    stack = plan(flags, file, free_port)
    configure_logging("up", "warning")
    require_free(stack.gateway.host, stack.gateway.port)
    return lifecycle.run(partial(_up, stack))


async def _up(stack: Stack, stop: asyncio.Event) -> int:
    began_s = clock.now_s()
    if stack.gateway.model == BUILTIN:
        stack = with_model(stack, await builtin_model())
    print(f"starting {', '.join(spec.name for spec in stack.specs)}", flush=True)

    async def when_started() -> None:
        if served := await _served_model(stack, stop):
            print(_announcement(stack, served, clock.now_s() - began_s), flush=True)

    supervisor = Supervisor(stack.specs, _say, _environment(stack))
    server = RpcServer(load_tls(stack.scheduler.tls_folder))
    server.add(LocalPools(supervisor, stack.workers).register)
    await server.start(stack.scheduler.scaler)
    try:
        exit_status = await supervisor.run(stop, when_started)
    finally:
        await server.stop(grace_s=0.0)
    print("stopped" if exit_status == 0 else "stopped: it could not start", flush=True)
    return exit_status


async def _served_model(stack: Stack, stop: asyncio.Event) -> str:
    """Wait until the gateway serves, and learn the name that clients use for the model; empty when stopped before."""
    key = stack.gateway.api_keys[0] if stack.gateway.api_keys else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=_url(stack), headers=headers, timeout=5.0, trust_env=False) as client:
        while not await _is_ready(client):
            with contextlib.suppress(TimeoutError):  # HTTP has no way to be told: ask again
                await asyncio.wait_for(stop.wait(), READY_CHECK_S)
                return ""
        answer = await client.get("/v1/models")
        return str(answer.raise_for_status().json()["data"][0]["id"])


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).is_success
    except httpx.TransportError:
        return False


def _announcement(stack: Stack, served: str, took_s: float) -> str:
    url = _url(stack)
    body = json.dumps({"model": served, "messages": [{"role": "user", "content": "Hello!"}]})
    key = " -H 'Authorization: Bearer YOUR_KEY'" if stack.gateway.api_keys else ""
    is_module = sys.argv[0].endswith(".py")
    penstock = "python -m penstock.cli.main" if is_module else shlex.quote(os.path.relpath(sys.argv[0]))
    return f"""
Penstock serves {served} at {url} ({took_s:.0f} s to start). Try:

  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}

  {penstock} chat --url {url}
  {penstock} status --url {url}

Ctrl-C stops it.
"""


def _url(stack: Stack) -> str:
    host = "127.0.0.1" if stack.gateway.host in ("0.0.0.0", "::", "") else stack.gateway.host
    return f"http://{host}:{stack.gateway.port}"


def _environment(stack: Stack) -> dict[str, str]:
    """Workers on one machine share its cores; each taking them all would slow every one of them."""
    num_threads = max(1, len(os.sched_getaffinity(0)) // len(stack.workers))
    return {
        "OMP_NUM_THREADS": str(num_threads),
        "PYTHONUNBUFFERED": "1",
        "RAY_COLOR_PREFIX": "0",
        "UCX_WARN_UNUSED_ENV_VARS": "n",  # ucxx sets one that its own build of UCX does not know
    }


def _say(name: str, line: str) -> None:
    print(f"{name:<{NAME_WIDTH}} | {line}", file=sys.stderr, flush=True)
