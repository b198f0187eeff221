"""The sheets for people: a table in the terminal, and an HTML report with a picture of each."""

from collections.abc import Sequence
from html import escape

from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.epd.figures import PERCENTILES, Sheet, body, doubt, head, images_line
from penstock_loadgen.report.charts import Chart, line, plot
from penstock_loadgen.report.parts import document, section, table

TITLE = "Encoders of their own, beside encoding with prefill"


def as_text(sheet: Sheet) -> Group:
    """One sheet in the terminal."""
    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in head(sheet):
        made.add_column(name, justify="right")
    for cells in body(sheet):
        made.add_row(*cells)
    title = Text(f"\n{sheet.title} (TTFT in seconds)", "bold")
    return Group(title, Text(sheet.note, "dim"), made, Text(images_line(sheet), "dim"), Text(doubt(sheet), "red"))


def as_page(sheets: Sequence[Sheet], facts: Sequence[str]) -> str:
    """The whole report."""
    about = escape(" · ".join(facts))
    return document(TITLE, [f"<header><h1>{TITLE}</h1><p>{about}</p></header>", *map(_section, sheets)])


def _section(sheet: Sheet) -> str:
    said = "".join(f"<p>{escape(note)}</p>" for note in (sheet.note, images_line(sheet), doubt(sheet)) if note)
    return section(sheet.title, charts(sheet), table("TTFT (s)", head(sheet), body(sheet)) + said)


def charts(sheet: Sheet) -> list[Chart]:
    """First tokens of every side, and how many times sooner the first side has them."""
    x = {"unit": sheet.unit, "min": 0.0, "max": max(sheet.rows) * 1.04}
    kind = "line" if len(sheet.rows) > 1 else "points"
    times = []
    for side in sheet.sides:
        for name, fraction in PERCENTILES.items():
            found = [(at, sheet.cell(at, side).percentile_s(fraction)) for at in sheet.rows]
            times.append(line(f"{side} {name}", [[at, value] for at, value in found if value is not None], kind))
    drawn = [plot("Time to first token", x, {"unit": "s"}, times)]
    if len(sheet.rows) > 1:
        ratios = [[at, ratio] for at in sheet.rows if (ratio := sheet.ratio(at, sheet.sides[0])) is not None]
        name = f"{sheet.sides[-1]} / {sheet.sides[0]}"
        drawn.append(plot(f"Ratio of medians: {name}", x, {"unit": "times"}, [line(name, ratios)]))
    return drawn
