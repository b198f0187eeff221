"""`penstock scale prefill=3 decode=5`: workers are started, or drain and go, until each role has its count."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import httpx
import typer

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.cli.live_feed import states
from penstock.cli.orders import EXIT_NOT_IN_TIME, TLS_HELP, find_group, give, parse_role, run
from penstock.core.policies.pool_changes import PoolChange
from penstock.core.types import Role
from penstock.runtime import clock
from penstock.wire import control_stubs
from penstock.wire.control_messages import ScaleRequest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WAIT_S = 600.0  # images are pulled and weights are loaded meanwhile


@app.command(epilog="Exit status: 0 done, 2 bad words, 3 refused and nothing done, 4 begun but not done in time.")
def scale(
    counts: Annotated[list[str], typer.Argument(help="ROLE=COUNT, such as prefill=3 decode=5")],
    group: Annotated[str, typer.Option(help="group of workers")] = "default",
    wait: Annotated[bool, typer.Option("--wait", help=f"return when all is done, after {WAIT_S:g} s at most")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    tls_folder: Annotated[str, typer.Option(help=TLS_HELP)] = "",
) -> None:
    """Start workers, or have them drain and go."""
    targets = [parse_count(word) for word in counts]
    if len({role for role, _ in targets}) < len(targets):
        raise typer.BadParameter("a role is named twice")
    with connect(url, api_key) as client:
        order = ScaleRequest(targets, is_dry_run=dry_run)
        answer = give(find_group(get_json(client, "/cluster"), group), control_stubs.CONTROL_SCALE, order, tls_folder)
        for change in answer.changes:
            print(sentence(change, is_dry_run=dry_run))
        if wait and not dry_run and not until_done(client, group, targets):
            print("not done yet; `penstock status` shows how far it is")
            raise typer.Exit(EXIT_NOT_IN_TIME)


def main(argv: list[str]) -> int:
    """Run `penstock scale`."""
    return run(app, argv, "penstock scale")


def parse_count(word: str) -> tuple[Role, int]:
    """The role and count of `prefill=3`."""
    name, separator, number = word.partition("=")
    if not separator or not number.isdigit():
        raise typer.BadParameter(f"'{word}' is not ROLE=COUNT")
    return parse_role(name), int(number)


def sentence(change: PoolChange, *, is_dry_run: bool) -> str:
    """What a change means, for the terminal."""
    size = f"{change.role.value}: {change.num_before} to {change.num_after} workers"
    if change.num_before == change.num_after:
        return f"{change.role.value}: {change.num_after} workers already"
    if change.ending:
        return f"{size}; {', '.join(change.ending)} {'would drain' if is_dry_run else 'drain'} and go"
    return f"{size}; {change.num_to_start} {'would be' if is_dry_run else 'are being'} started"


def missing(cluster: Mapping[str, Any], group: str, targets: Sequence[tuple[Role, int]]) -> list[str]:
    """What is not yet as it shall be, in words; empty when all is done."""
    workers = find_group(cluster, group)["workers"]
    found = []
    for role, num_workers in targets:
        members = [worker for worker in workers if worker["role"] == role]
        num_serving = sum(not worker["is_draining"] for worker in members)
        num_draining = len(members) - num_serving
        if num_serving != num_workers or num_draining:
            found.append(
                f"{role.value} {num_serving}/{num_workers}" + f", {num_draining} draining" * bool(num_draining)
            )
    return found


def until_done(client: httpx.Client, group: str, targets: Sequence[tuple[Role, int]]) -> bool:
    """Wait, saying each time something has changed; whether it was done in time, and before the gateway stopped."""
    until_s, said = clock.now_s() + WAIT_S, list[str]()
    for state in states(client):
        left = missing(state, group, targets)
        if not left:
            print("done")
            return True
        if left != said:
            print(f"  waiting: {'; '.join(left)}", flush=True)
            said = left
        if clock.now_s() >= until_s:
            break
    return False
