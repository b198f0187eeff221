"""The table of headlines, for people (text, SVG) and for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from rich.table import Table

from benchmarks.headlines.row import Row

_BAR, _GAP, _LABEL, _SCALE = 9, 14, 470, 90  # heights and widths, and the width of "as good as the baseline"
_MAX_TIMES = 5.0  # a bar that is longer is cut, and says its figure
_COLOURS = {"paper's policy": "#0072b2", "combined": "#d55e00"}


def table(rows: Sequence[Row]) -> Table:
    """One line per claim; ratios are to the baseline, above 1 is better whatever the unit."""
    shown = Table(header_style="bold", show_lines=True)
    for header in ("paper", "claim", "set-up"):
        shown.add_column(header, overflow="fold", ratio=2)
    for header in ("baseline", "paper's policy", "combined"):
        shown.add_column(header, justify="right", min_width=9)
    shown.add_column("note", overflow="fold", ratio=2)
    for row in rows:
        shown.add_row(
            row.paper,
            row.claim,
            row.set_up,
            f"{_figure(row.baseline)}\n{row.unit}",
            _with_ratio(row.ours, row.ratio),
            _with_ratio(row.combined, row.combined_ratio),
            row.note,
        )
    return shown


def as_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{**asdict(row), "ratio": row.ratio, "combined_ratio": row.combined_ratio} for row in rows]


def chart(rows: Sequence[Row]) -> str:
    """SVG: how many times better than its baseline each policy is, a pair of bars per row."""
    step = 2 * _BAR + _GAP
    width, height = _LABEL + _SCALE * (_MAX_TIMES + 1), step * len(rows) + 48
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height}" font-family="sans-serif" '
        'font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(10, 18, "times better than the paper's baseline (line: as good)", "font-weight='bold'"),
        *(
            f'<rect x="{_LABEL + 130 * index}" y="10" width="10" height="8" fill="{colour}"/>'
            + _text(_LABEL + 130 * index + 15, 18, name)
            for index, (name, colour) in enumerate(_COLOURS.items())
        ),
    ]
    for number, row in enumerate(rows):
        top = 36 + step * number
        lines.append(_text(_LABEL - 8, top + _BAR + 4, f"{row.paper}: {row.claim}"[:88], "text-anchor='end'"))
        for index, times in enumerate((row.ratio, row.combined_ratio)):
            lines += _bar(top + _BAR * index, times, list(_COLOURS.values())[index])
    line_x = _LABEL + _SCALE
    lines.append(f'<line x1="{line_x}" x2="{line_x}" y1="30" y2="{height - 8}" stroke="#555" stroke-dasharray="3 3"/>')
    return "\n".join([*lines, "</svg>\n"])


def _bar(y: float, times: float | None, colour: str) -> list[str]:
    if times is None:
        return []
    width = min(times, _MAX_TIMES) * _SCALE
    return [
        f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{colour}"/>',
        _text(_LABEL + width + 4, y + _BAR - 1, f"{times:.2f}", "font-size='9'"),
    ]


def _text(x: float, y: float, content: str, attributes: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {attributes}>{escape(content)}</text>'


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _with_ratio(value: float | None, ratio: float | None) -> str:
    return _figure(value) if ratio is None else f"{_figure(value)}\n{ratio:.2f}x"
