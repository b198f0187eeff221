"""The `penstock` command. Each subcommand is a module, imported only when it is called: torch takes seconds."""

import importlib
import sys
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

from penstock.core.errors import PenstockError
from penstock.runtime.lifecycle import exit_status_of
from penstock.runtime.settings import set_unless_given

COMMANDS = {
    "up": "run the whole system on this machine",
    "status": "show pools, workers, load and transports",
    "top": "watch load, latencies, pools and role changes, once a second",
    "chat": "talk to the model in the terminal",
    "bench": "drive an endpoint, or the simulator, and measure what comes of it; `bench compare` compares two results",
    "eval": "ask the built-in model questions with known answers, and count the right ones",
    "simulate": "run a scenario file in virtual time, with the policies of the live system",
    "trace": "where the time of one request went",
    "plan": "find how many GPUs should do what, for a model, a workload and its objectives",
    "profile": "fit what steps cost on a live system, for simulate and plan",
    "doctor": "show what this machine has, and what Penstock will use and why",
    "model": "make models",
    "scale": "start workers, or have them drain and go, until each role has its count",
    "flip": "give a worker another role",
    "roles": "show what the role controller decided, and let it act or hold it back",
    "rollout": "replace every worker, one at a time",
    "drain": "have a worker finish what it has and leave",
    "gateway": "run one gateway process",
    "scheduler": "run the scheduler process",
    "worker": "run one worker process",
}
"""Name of the module in penstock.cli, and what it does. Each has `main(argv) -> int`."""


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name == "--version":
        print(f"penstock {version('penstock')}")
        return 0
    if name not in COMMANDS:
        return _help(name)
    # Children are spawned, never forked to go on; gRPC would say on stderr each time that it cannot help with that.
    set_unless_given("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        command = importlib.import_module(f"penstock.cli.{name}")
        return int(command.main(arguments[1:]))
    except PenstockError as error:
        print(error.message, file=sys.stderr)
        return exit_status_of(error)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it


def _help(name: str) -> int:
    is_asked_for = name in ("--help", "-h", "help")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for command, meaning in COMMANDS.items():
        table.add_row(command, meaning)
    console = Console(stderr=not is_asked_for)
    if not is_asked_for:
        console.print(f"penstock has no command '{name}'.\n")
    console.print("Usage: penstock COMMAND [FLAGS]; penstock COMMAND --help shows its flags.\n")
    console.print(table)
    return 0 if is_asked_for else 2


if __name__ == "__main__":
    sys.exit(main())
