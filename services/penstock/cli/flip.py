"""`penstock flip WORKER ROLE`: from now on other work is routed to it; no restart, no reload, nothing lost."""

from typing import Annotated

import typer

from penstock.cli.gateway_client import DEFAULT_URL, connect, get_json
from penstock.cli.orders import TLS_HELP, find_group, give, parse_role, run
from penstock.wire import control_stubs
from penstock.wire.control_messages import MoveRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 done, 2 bad words, 3 refused and nothing done.")
def flip(
    worker: Annotated[str, typer.Argument(help="worker id, as `penstock status` shows it")],
    role: Annotated[str, typer.Argument(help="prefill, decode or mixed")],
    group: Annotated[str, typer.Option(help="its group")] = "default",
    to_group: Annotated[str, typer.Option(help="group to move to, once it has finished what it holds")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help="bearer token, if the gateway wants one")] = "",
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Give a worker another role; what it holds goes on to its end."""
    order = MoveRequest(worker, parse_role(role), is_dry_run=dry_run, group=to_group)
    with connect(url, api_key) as client:
        answer = give(find_group(get_json(client, "/cluster"), group), control_stubs.CONTROL_MOVE, order, tls_folder)
    if answer.previous_role is order.role and not to_group:
        print(f"{worker} is a {role} worker already")
        return
    verb = "would be" if dry_run else "is"
    held = f"; it finishes {answer.num_sequences} sequences" if answer.num_sequences else ""
    moves = f", moving to group {to_group}" if to_group else ""
    print(f"{worker} {verb} a {role} worker instead of a {answer.previous_role.value} worker{held}{moves}")


def main(argv: list[str]) -> int:
    """Run `penstock flip`."""
    return run(app, argv, "penstock flip")
