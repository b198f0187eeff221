"""`penstock gateway`: the entry point of a gateway process."""

from penstock.cli import process
from penstock.gateway.process import serve
from penstock.runtime.settings import GatewaySettings, load_from_argv


def main(argv: list[str]) -> int:
    """Serve until stopped."""
    return process.run(load_from_argv(GatewaySettings, argv), serve)
