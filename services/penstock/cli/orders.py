"""How the CLI gives orders to a group: its router is looked up at the gateway, then called directly.

So orders work wherever the router can be reached: on the machine of `penstock up`, and in any pod of a cluster.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import typer

from penstock.core.errors import ChangeRefused, WorkerLost
from penstock.core.types import Role
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.runtime.tls import load_tls
from penstock.wire.method import Method

EXIT_REFUSED = 3  # nothing was done
EXIT_NOT_IN_TIME = 4  # it was begun, and was not done within the time given to --wait

CALL_TIMEOUT_S = 30.0  # on Kubernetes, a shrink first has pods drain and waits until they are not ready
TLS_HELP = "folder with tls.crt, tls.key and ca.crt, if workers want TLS"

_Json = Mapping[str, Any]
Order = TypeVar("Order")
Answer = TypeVar("Answer")


def find_group(cluster: _Json, name: str) -> _Json:
    """The group of that name, in what the gateway knows."""
    groups = {group["name"]: group for group in cluster["groups"]}
    if name not in groups:
        raise ChangeRefused(f"There is no group '{name}'; there are: {', '.join(sorted(groups)) or 'none'}.")
    group: _Json = groups[name]
    return group


def give(group: _Json, method: Method[Order, Answer], order: Order, tls_folder: str = "") -> Answer:
    """Call the group's router; raises its refusal, or that it cannot be reached."""
    address = group["router_address"]
    if not address:
        raise WorkerLost(f"The router of group '{group['name']}' is away; try again when the scheduler is back.")
    return call(address, method, order, tls_folder)


def call(address: str, method: Method[Order, Answer], order: Order, tls_folder: str = "") -> Answer:
    """One call to host:port, whatever process answers there."""
    return asyncio.run(_call(Channels(load_tls(tls_folder)), address, method, order))


def parse_role(word: str) -> Role:
    """A role by its name."""
    if word not in set(Role):
        raise typer.BadParameter(f"'{word}' is no role; roles are {', '.join(Role)}")
    return Role(word)


def run(app: typer.Typer, argv: list[str], name: str) -> int:
    """Run a command that gives orders; a refusal has an exit status of its own, for scripts."""
    try:
        app(argv, prog_name=name)
    except ChangeRefused as refusal:
        print(refusal.message, file=sys.stderr)
        return EXIT_REFUSED
    return 0


async def _call(channels: Channels, address: str, method: Method[Order, Answer], order: Order) -> Answer:
    try:
        return await rpc.call(method.unary(channels.get(address)), order, timeout_s=CALL_TIMEOUT_S)
    finally:
        await channels.close()
