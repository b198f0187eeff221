"""`penstock drain WORKER`: it takes nothing new, finishes or hands over what it has, and leaves."""

import asyncio
from typing import Annotated

import typer

from penstock.cli.gateway_client import DEFAULT_URL, connect, get_json
from penstock.core.errors import InvalidRequest
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.runtime.tls import load_tls
from penstock.wire import control_stubs
from penstock.wire.control_messages import DrainRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CALL_TIMEOUT_S = 5.0


@app.command()
def drain(
    worker: Annotated[str, typer.Argument(help="worker id, as `penstock status` shows it")],
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help="bearer token, if the gateway wants one")] = "",
    timeout_s: Annotated[float, typer.Option(help="seconds after which what is left moves elsewhere", min=0)] = 60.0,
    tls_folder: Annotated[str, typer.Option(help="folder with tls.crt, tls.key and ca.crt, if workers want TLS")] = "",
) -> None:
    """Have a worker finish what it has and leave."""
    with connect(url, api_key) as client:
        address = address_of(get_json(client, "/cluster"), worker)
    num_sequences = asyncio.run(_drain(Channels(load_tls(tls_folder)), address, timeout_s))
    print(f"{worker} is draining: {num_sequences} sequences to finish, {timeout_s:g} s at most")


def main(argv: list[str]) -> int:
    """Run `penstock drain`."""
    app(argv, prog_name="penstock drain")
    return 0


def address_of(cluster: dict[str, list[dict[str, list[dict[str, str]]]]], worker: str) -> str:
    """host:port of the worker, looked up in what the gateway knows."""
    known = {member["worker_id"]: member["address"] for group in cluster["groups"] for member in group["workers"]}
    if worker not in known:
        raise InvalidRequest(f"There is no worker '{worker}'; there are: {', '.join(sorted(known)) or 'none'}.")
    return known[worker]


async def _drain(channels: Channels, address: str, timeout_s: float) -> int:
    try:
        method = control_stubs.WORKER_DRAIN.unary(channels.get(address))
        return (await rpc.call(method, DrainRequest(timeout_s), timeout_s=CALL_TIMEOUT_S)).num_sequences
    finally:
        await channels.close()
