"""`penstock bench compare A B`: which differences between two results are real."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock_loadgen.compare import BOOTSTRAP, MIN_REPEATS, Comparison, Difference, compare
from penstock_loadgen.results import Result, read_result
from penstock_loadgen.summary import shown


def main(argv: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("penstock bench compare", description=__doc__, allow_abbrev=False)
    for name in ("A", "B"):
        parser.add_argument(name.lower(), type=Path, metavar=name, help="folder that `penstock bench` wrote")
    given = parser.parse_args(argv)
    a, b = read_result(given.a), read_result(given.b)
    comparison = compare(a, b)
    Console().print(table(comparison), *notes(a, b, comparison), sep="\n")
    return 0


def table(comparison: Comparison) -> Table:
    """A line per figure; what is real stands out."""
    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("")
    for name in ("A", "B", "change", "how sure", "real"):
        made.add_column(name, justify="right")
    for one in comparison.differences:
        change = "-" if one.change is None else f"{one.change:+.1%}"
        label, scale = shown(one.name)
        cells = (f"{one.a * scale:,.4g}", f"{one.b * scale:,.4g}", change, _sureness(one, scale))
        made.add_row(label, *cells, "yes" if one.is_real else "no", style="bold" if one.is_real else "dim")
    return made


def notes(a: Result, b: Result, comparison: Comparison) -> list[Text]:
    """What was tested, and what that cannot see."""
    num_real = sum(one.is_real for one in comparison.differences)
    lines = [
        Text(f"\n{num_real} of {len(comparison.differences)} differences are real. Test: {comparison.test}."),
        Text("Each line is judged by itself: of twenty lines without a cause, one is called real by chance.", "dim"),
    ]
    if comparison.test == BOOTSTRAP:
        lines.append(
            Text(
                f"Differences between runs are out of its sight; --repeats {MIN_REPEATS} or more on both sides "
                "compares them, and throughput too.",
                "yellow",
            )
        )
    for name, result in (("A", a), ("B", b)):
        if not result.is_valid:
            lines.append(
                Text(f"{name} is invalid: its client fell behind or was interrupted; see its report.", "bold red")
            )
    return lines


def _sureness(one: Difference, scale: float) -> str:
    if one.p is not None:
        return f"p = {one.p:.3f}"
    assert one.low is not None and one.high is not None
    return f"{one.low * scale:+.3g} .. {one.high * scale:+.3g}"
