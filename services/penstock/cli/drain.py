"""`penstock drain WORKER`: it takes nothing new, finishes or hands over what it has, and leaves."""

from typing import Annotated

import typer

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.orders import TLS_HELP, call
from penstock.core.errors import InvalidRequest
from penstock.wire import control_stubs
from penstock.wire.control_messages import DrainRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def drain(
    worker: Annotated[str, typer.Argument(help="worker id, as `penstock status` shows it")],
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    timeout_s: Annotated[float, typer.Option(help="seconds after which what is left moves elsewhere", min=0)] = 60.0,
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Have a worker finish what it has and leave."""
    with connect(url, api_key) as client:
        address = address_of(get_json(client, "/cluster"), worker)
    num_sequences = call(address, control_stubs.WORKER_DRAIN, DrainRequest(timeout_s), tls_folder).num_sequences
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
