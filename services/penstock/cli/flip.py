"""`penstock flip WORKER ROLE`: from now on other work is routed to it; no restart, no reload, nothing lost."""

from typing import Annotated

import typer

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.orders import TLS_HELP, find_group, give, parse_role, run
from penstock.wire import control_stubs
from penstock.wire.control_messages import FlipOrderRequest, FlipResponse

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 done, 2 bad words, 3 refused and nothing done.")
def flip(
    worker: Annotated[str, typer.Argument(help="worker id, as `penstock status` shows it")],
    role: Annotated[str, typer.Argument(help="prefill, decode or mixed")],
    group: Annotated[str, typer.Option(help="its group")] = "default",
    to_group: Annotated[str, typer.Option(help="group to move to, once it has finished what it holds")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Give a worker another role; what it holds goes on to its end."""
    order = FlipOrderRequest(worker, parse_role(role), is_dry_run=dry_run, group=to_group)
    with connect(url, api_key) as client:
        answer = give(find_group(get_json(client, "/cluster"), group), control_stubs.CONTROL_FLIP, order, tls_folder)
    print(sentence(order, answer, "" if to_group == group else to_group))


def main(argv: list[str]) -> int:
    """Run `penstock flip`."""
    return run(app, argv, "penstock flip")


def sentence(order: FlipOrderRequest, answer: FlipResponse, to_group: str) -> str:
    """What came of the order, for the terminal. `to_group` is another than its own, or empty."""
    role, previous = order.role, answer.previous_role
    changes = []
    if previous is not role:
        verb = "would be" if order.is_dry_run else "is"
        changes.append(f"{verb} a {role.value} worker instead of a {previous.value} worker")
    if to_group:
        changes.append(f"{'would move' if order.is_dry_run else 'is moving'} to group {to_group}")
    if not changes:
        return f"{order.worker_id} is a {role.value} worker already"
    held = f"; it finishes {answer.num_sequences} sequences" if answer.num_sequences else ""
    return f"{order.worker_id} {' and '.join(changes)}{held}"
