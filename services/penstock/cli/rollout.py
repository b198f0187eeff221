"""`penstock rollout`: every worker drains and comes again, one at a time, while the others serve."""

from typing import Annotated

import typer

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.orders import TLS_HELP, find_group, give, parse_role, run
from penstock.wire import control_stubs
from penstock.wire.control_messages import RolloutRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 begun, 2 bad words, 3 refused and nothing done.")
def rollout(
    roles: Annotated[list[str] | None, typer.Argument(help="only workers of these roles; none: all")] = None,
    group: Annotated[str, typer.Option(help="group of workers")] = "default",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Replace workers one by one; the next one goes when the one before serves again."""
    order = RolloutRequest([parse_role(word) for word in roles or ()], is_dry_run=dry_run)
    with connect(url, api_key) as client:
        answer = give(find_group(get_json(client, "/cluster"), group), control_stubs.CONTROL_ROLLOUT, order, tls_folder)
    verb = "would be" if dry_run else "are being"
    print(f"{len(answer.worker_ids)} workers {verb} replaced, one by one: {', '.join(answer.worker_ids) or 'none'}")


def main(argv: list[str]) -> int:
    """Run `penstock rollout`."""
    return run(app, argv, "penstock rollout")
