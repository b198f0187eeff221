"""`penstock status`: pools, workers, load, transports and versions of a running system, as its gateway sees it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.cli.gateway_client import DEFAULT_URL, connect, get_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ROLES = ("encoder", "prefill", "decode", "mixed")
SILENT_S = 2.0  # a worker that has not been heard for this long is marked

_Json = Mapping[str, Any]


@app.command()
def status(
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help="bearer token, if the gateway wants one")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print what the gateway answered, for programs")] = False,
) -> None:
    """Show pools, workers, load, transports and versions."""
    with connect(url, api_key) as client:
        cluster = get_json(client, "/cluster")
    if as_json:
        print(json.dumps(cluster, indent=2))
        return
    console = Console()
    console.print(headline(cluster["gateway"]))
    for group in cluster["groups"]:
        console.print()
        console.print(pools(group))
        console.print(workers(group))


def main(argv: list[str]) -> int:
    """Run `penstock status`."""
    app(argv, prog_name="penstock status")
    return 0


def headline(gateway: _Json) -> str:
    """One line about the gateway that answered."""
    return (
        f"{gateway['id']} (version {gateway['version']}) serves {gateway['model']}; "
        f"{gateway['num_requests']} requests in flight"
    )


def pools(group: _Json) -> Table:
    """A line per role: how many workers, what they have to do."""
    table = Table(title=f"group {group['name']} · router {group['router_address']}", title_justify="left", box=None)
    for column in ("pool", "workers", "waiting", "running", "free blocks"):
        table.add_column(column, justify="left" if column == "pool" else "right")
    for role in ROLES:
        members = [worker for worker in group["workers"] if worker["role"] == role]
        if members:
            totals = [str(_total(members, key)) for key in ("num_waiting", "num_running")]
            table.add_row(role, str(len(members)), *totals, _free_blocks(members))
    return table


def workers(group: _Json) -> Table:
    """A line per worker."""
    table = Table(title_justify="left", box=None)
    for column in ("worker", "role", "state", "address"):
        table.add_column(column)
    for column in ("waiting", "running", "free blocks", "to prefill", "in context", "per token"):
        table.add_column(column, justify="right")
    for column in ("transports", "model", "version"):
        table.add_column(column, overflow="fold")
    for worker in sorted(group["workers"], key=lambda worker: (ROLES.index(worker["role"]), worker["worker_id"])):
        table.add_row(*_worker_row(worker))
    return table


def _worker_row(worker: _Json) -> tuple[str | Text, ...]:
    return (
        worker["worker_id"],
        worker["role"],
        _state(worker),
        worker["address"],
        str(worker["num_waiting"]),
        str(worker["num_running"]),
        _free_blocks([worker]),
        str(worker["num_prefill_tokens"]),
        str(worker["num_context_tokens"]),
        f"{worker['token_interval_s']:.4f} s" if worker["token_interval_s"] else "-",
        _transports(worker["transports"]),
        f"{worker['model']} {worker['revision'][:8]}".strip(),
        worker["version"],
    )


def _state(worker: _Json) -> Text:
    if worker["is_draining"]:
        return Text("draining", "yellow")
    if worker["heartbeat_age_s"] > SILENT_S:
        return Text(f"silent for {worker['heartbeat_age_s']:.1f} s", "red")
    return Text("ok", "green")


def _transports(by_peer: Mapping[str, str]) -> Text:
    """TCP stands out: on a fabric it means that something is not as it should be."""
    return Text("\n").join(
        Text(f"{peer}: {transport}", "yellow" if transport == "tcp" else "") for peer, transport in by_peer.items()
    ) or Text("-")


def _total(members: list[_Json], key: str) -> int:
    return sum(worker[key] for worker in members)


def _free_blocks(members: list[_Json]) -> str:
    return f"{_total(members, 'num_free_blocks')}/{_total(members, 'num_blocks')}"
