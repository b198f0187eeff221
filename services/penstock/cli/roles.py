"""`penstock roles`: what the role controller did and why; `roles pin`, `observe` and `auto` say what it may do."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.orders import TLS_HELP, find_group, give, run
from penstock.core.pools import Steering
from penstock.wire import control_stubs
from penstock.wire.control_messages import SteerRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WORDS = {"pin": Steering.PINNED, "observe": Steering.OBSERVE, "auto": Steering.AUTO}
MEANINGS = {
    Steering.AUTO: "roles follow the load",
    Steering.OBSERVE: "decisions are logged and not carried out",
    Steering.PINNED: "roles stay as they are",
}


@app.command(epilog="Exit status: 0 done, 2 bad words, 3 refused and nothing done.")
def roles(
    steering: Annotated[str, typer.Argument(help="pin, observe or auto; nothing: show")] = "",
    group: Annotated[str, typer.Option(help="group of workers")] = "default",
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Show what was changed and why, or say what role control may do."""
    if steering and steering not in WORDS:
        raise typer.BadParameter(f"'{steering}' is none of {', '.join(WORDS)}")
    with connect(url, api_key) as client:
        known = find_group(get_json(client, "/cluster"), group)
    if not steering:
        Console().print(*show(known), sep="\n")
        return
    wanted = WORDS[steering]
    previous = give(known, control_stubs.CONTROL_STEER, SteerRequest(wanted), tls_folder).previous
    print(f"role control of group {group}: {wanted.value} ({MEANINGS[wanted]}); it was {previous.value}")


def main(argv: list[str]) -> int:
    """Run `penstock roles`."""
    return run(app, argv, "penstock roles")


def show(group: Mapping[str, Any]) -> list[str | Table]:
    """A line on what it may do, and a table of what was changed lately."""
    steering = Steering(group["steering"])
    head = f"role control of group {group['name']}: {steering.value} ({MEANINGS[steering]})"
    if not group["role_changes"]:
        return [head, "nothing was changed yet"]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("ago", "what", "change", "why", "outcome"):
        table.add_column(column, justify="right" if column == "ago" else "left", overflow="fold")
    for change in group["role_changes"]:
        words = (change[key] for key in ("subject", "change", "reason", "outcome"))
        table.add_row(f"{change['age_s']:.0f} s", *words)
    return [head, table]
