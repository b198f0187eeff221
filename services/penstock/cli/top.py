"""`penstock top`: the live page as a terminal screen: figures, requests under way, pools, changes; once a second."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli.durations import in_words
from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect
from penstock.cli.live_feed import states
from penstock.cli.status import headline, load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SPARKS = "▁▂▃▄▅▆▇█"
NUM_SPARKS = 60
NUM_CHANGES = 6
STAGES = (("waiting", "white"), ("encode", "blue"), ("prefill", "cyan"), ("transfer", "magenta"), ("decode", "yellow"))
BAR_WIDTH = 12

_Json = Mapping[str, Any]


@app.command()
def top(
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    once: Annotated[bool, typer.Option("--once", help="print one screen and leave")] = False,
) -> None:
    """Watch a running system; Ctrl-C leaves."""
    console = Console()
    with connect(url, api_key) as client:
        feed = states(client)
        if once:
            console.print(screen(next(feed)))
            return
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            for state in feed:
                live.update(screen(state), refresh=True)


def main(argv: list[str]) -> int:
    """Run `penstock top`."""
    app(argv, prog_name="penstock top")
    return 0


def screen(state: _Json) -> RenderableType:
    """Everything of one moment."""
    pulse, groups = state["pulse"], state["groups"]
    parts: list[RenderableType] = [Text(headline(state["gateway"]), "bold"), figures(pulse), under_way(pulse["stages"])]
    parts += [history(state["points"])]
    for group in groups:
        parts += [Text(), load(group)]
    parts += [Text(), changes(groups)]
    return Group(*parts)


def figures(pulse: _Json) -> Table:
    """Rates, and percentiles against the objectives."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "now", "p50", "p90", "p99", "objective"):
        table.add_column(column, justify="left" if not column else "right")
    outcomes = pulse["outcomes"]
    failed = outcomes.get("failed", 0) + outcomes.get("shed", 0)
    table.add_row("requests/s", f"{pulse['requests_per_s']:.1f}")
    table.add_row("tokens/s", f"{pulse['tokens_per_s']:.0f}")
    for name, key in (("time to first token", "ttft_s"), ("time per token", "tpot_s")):
        objective = pulse["objectives"][key]
        marks = [_against(pulse[key][quantile], objective) for quantile in ("p50", "p90", "p99")]
        table.add_row(name, "", *marks, in_words(objective))
    table.add_row("answered in all", f"{pulse['totals'].get('answered', 0):.0f}")
    table.add_row(
        "failed or shed", Text(f"{failed:.0f}", "red" if failed else ""), "", "", "", f"{pulse['window_s']:.0f} s"
    )
    return table


def under_way(stages: _Json) -> Text:
    """Sequences by stage, in the order in which they pass them."""
    text = Text()
    for name, style in STAGES:
        if name not in stages:  # the model takes no images
            continue
        if name != STAGES[0][0]:
            text.append("  →  ", "dim")
        text.append(f"{name} ").append(str(stages[name]), f"bold {style}")
    return text


def history(points: Sequence[_Json]) -> Table:
    """The last minute, a mark a second."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    latest = points[-NUM_SPARKS:]
    for name, column in (("tokens/s", "tokens_per_s"), ("TTFT p99", "ttft_p99_s"), ("prefill workers", "prefill")):
        values = [point[column] or 0.0 for point in latest]
        if values:
            table.add_row(name, sparks(values), f"{max(values):.4g} at most")
    return table


def sparks(values: Sequence[float]) -> str:
    """Values as blocks, from 0 to the largest."""
    most = max(values) or 1.0
    return "".join(SPARKS[min(len(SPARKS) - 1, int(value / most * len(SPARKS)))] for value in values)


def changes(groups: Sequence[_Json]) -> Text:
    """What was changed lately, newest first."""
    text = Text("\n").join(Text(f"role control of {group['name']}: {group['steering']}", "dim") for group in groups)
    latest = sorted(
        (change for group in groups for change in group["role_changes"]), key=lambda change: change["age_s"]
    )
    for change in latest[:NUM_CHANGES]:
        text.append(f"\n{change['age_s']:>6.0f} s ago  ", "dim").append(f"{change['subject']}: {change['change']} ")
        text.append(f"({change['reason']}; {change['outcome']})", "dim")
    return text


def _against(value: float | None, objective: float | None) -> Text:
    if value is None or objective is None:
        return Text(in_words(value))
    return Text(in_words(value), "green" if value <= objective else "red")
