"""`penstock status`: pools, workers, load, transports and versions of a running system, as its gateway sees it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.live_feed import states
from penstock.core.errors import InternalError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ROLES = ("encoder", "prefill", "decode", "mixed")
SILENT_S = 2.0  # a worker that has not been heard for this long is marked

_Json = Mapping[str, Any]


@app.command()
def status(
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print what the gateway answered, for programs")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="again every second, until Ctrl-C")] = False,
) -> None:
    """Show pools, workers, load, transports and versions."""
    if watch and as_json:
        raise typer.BadParameter("--watch shows tables, --json is for programs: one of them")
    console = Console()
    with connect(url, api_key) as client:
        if watch:
            _watch(console, client)
            return
        cluster = get_json(client, "/cluster")
    if as_json:
        print(json.dumps(cluster, indent=2))
    else:
        console.print(show(cluster))


def main(argv: list[str]) -> int:
    """Run `penstock status`."""
    app(argv, prog_name="penstock status")
    return 0


def _watch(console: Console, client: httpx.Client) -> None:
    """Until the gateway stops."""
    state: _Json | None = None
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        for state in states(client):
            live.update(show(state), refresh=True)
    if state is not None and console.is_terminal:  # a screen of its own is gone with its end
        console.print(show(state))


def show(cluster: _Json) -> Group:
    """The gateway, then each group."""
    try:
        parts = [part for group in cluster["groups"] for part in ("", pools(group), "", load(group), "", links(group))]
        return Group(headline(cluster["gateway"]), *parts)
    except KeyError as error:
        raise InternalError(f"The gateway says nothing of {error}; is it of another version? --json works.") from error


def headline(gateway: _Json) -> str:
    """One line about the gateway that answered."""
    return (
        f"{gateway['id']} (version {gateway['version']}) serves {gateway['model']}; "
        f"{gateway['num_requests']} requests in flight"
    )


def pools(group: _Json) -> Table:
    """A line per role: how many workers, what they have to do."""
    table = _table(("pool",), ("workers", "waiting", "running", "free blocks"))
    table.title = f"group {group['name']}, router {group.get('router_address') or 'not reached'}"
    for role in ROLES:
        members = [worker for worker in group["workers"] if worker["role"] == role]
        if members:
            totals = [str(_total(members, key)) for key in ("num_waiting", "num_running")]
            table.add_row(role, str(len(members)), *totals, _free_blocks(members))
    return table


def load(group: _Json) -> Table:
    """A line per worker: is it well, and what does it have to do."""
    columns = ("waiting", "running", "free blocks", "to prefill", "context", "per token")
    table = _table(("worker", "role", "state"), columns)
    for worker in _by_role(group):
        table.add_row(
            worker["worker_id"],
            worker["role"],
            _state(worker),
            str(worker["num_waiting"]),
            str(worker["num_running"]),
            _free_blocks([worker]),
            str(worker["num_prefill_tokens"]),
            str(worker["num_context_tokens"]),
            f"{worker['token_interval_s']:.4f} s" if worker["token_interval_s"] else "-",
        )
    return table


def links(group: _Json) -> Table:
    """A line per worker: where it is, what it runs, how KV reaches its peers."""
    table = _table(("worker", "address", "model", "version", "KV goes by"))
    for worker in _by_role(group):
        model = f"{worker['model']} {worker['revision'][:8]}".strip()
        table.add_row(
            worker["worker_id"], worker["address"], model, worker["version"], _transports(worker["transports"])
        )
    return table


def _table(texts: tuple[str, ...], numbers: tuple[str, ...] = ()) -> Table:
    """Narrow enough for 80 columns; names are never cut."""
    table = Table(box=None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for column in texts:
        table.add_column(column, no_wrap=column == "worker", overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _by_role(group: _Json) -> list[_Json]:
    return sorted(group["workers"], key=lambda worker: (ROLES.index(worker["role"]), worker["worker_id"]))


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
