"""`penstock doctor`: what this machine has, and what Penstock will use of it and why."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.cli.findings import Finding, Verdict, findings
from penstock.cli.probes import look

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DEFAULT_PORTS = (8000, 8100)  # gateway, scheduler
_STYLES = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "red"}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print findings for programs")] = False,
) -> None:
    """Show what this machine has, and what Penstock will use of it and why. Exit status 1: something is bad."""
    machine = look(DEFAULT_PORTS)
    found = findings(machine)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        console = Console()
        console.print(f"{machine.host}\n", highlight=False)
        console.print(report(found))
    if any(finding.verdict is Verdict.BAD for finding in found):
        raise typer.Exit(1)


def main(argv: list[str]) -> int:
    """Run `penstock doctor`."""
    app(argv, prog_name="penstock doctor")
    return 0


def report(found: list[Finding]) -> Table:
    """A line per finding."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in found:
        verdict = Text(finding.verdict, _STYLES[finding.verdict])
        table.add_row(verdict, Text(finding.topic, "bold"), finding.what, finding.consequence)
    return table
