"""What reports are put together from: the file itself, sections of charts, tables, numbers."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from penstock_loadgen.report.charts import Chart

_PACKAGE = "penstock_loadgen.report"


def document(title: str, sections: Iterable[str]) -> str:
    """One HTML file that needs nothing from outside: style, drawing code and data are in it."""
    return (
        _resource("page.html")
        .replace("{{title}}", escape(title))
        .replace("{{style}}", _resource("style.css"))
        .replace("{{script}}", _resource("chart.js"))
        .replace("{{body}}", "\n".join(filter(None, sections)))
    )


def section(title: str, shown: Sequence[Chart], more: str = "") -> str:
    """Charts under a title, and whatever else belongs there; nothing where there is no chart."""
    if not shown:
        return ""
    figures = "".join(
        f'<figure><figcaption>{escape(chart["title"])}</figcaption><div class="chart"></div>'
        f'<script type="application/json">{_json(chart)}</script></figure>'
        for chart in shown
    )
    return f'<section><h2>{escape(title)}</h2><div class="charts">{figures}</div>{more}</section>'


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":")).replace("</", "<\\/")  # nothing in it may end the script element


def table(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """With a title; the first column is to the left, numbers to the right."""
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return (
        f'<h3>{escape(title)}</h3><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def number(value: float) -> str:
    """Three digits, or all of them before the point."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _resource(name: str) -> str:
    return (files(_PACKAGE) / name).read_text(encoding="utf8")
