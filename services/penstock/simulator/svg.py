"""Line charts as SVG, written out by hand: a plotting library would be the largest dependency of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 260  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 34, 44
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)  # Okabe and Ito: colour-blind safe


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart; all of a document's stand below each other. `y_max` None: as high as the data."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Points]
    y_max: float | None = None
    has_markers: bool = False


def document(panels: Sequence[Panel]) -> str:
    """A complete SVG file."""
    height = _HEIGHT * len(panels)
    body = "\n".join(
        f'<g transform="translate(0 {_HEIGHT * index})">\n{_panel(panel)}\n</g>' for index, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def ticks(low: float, high: float, num_wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `num_wanted` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / num_wanted
    magnitude = 10.0 ** floor(log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first = -(-low // step)
    return [(first + index) * step for index in range(int((high - first * step) / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.begin + (self.end - self.begin) * share, 2)


def _panel(panel: Panel) -> str:
    points = [point for series in panel.series.values() for point in series]
    x_low, x_high = min((x for x, _ in points), default=0.0), max((x for x, _ in points), default=1.0)
    y_high = panel.y_max or max((y for _, y in points), default=1.0) * 1.05 or 1.0
    x_scale = _Scale(x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    y_scale = _Scale(0.0, y_high, _HEIGHT - _BOTTOM, _TOP)
    lines = [
        _text(_LEFT, 20, panel.title, "font-weight='bold'"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, panel.x_label, "text-anchor='middle'"),
        _text(0, 0, panel.y_label, f"text-anchor='middle' transform='translate(14 {_HEIGHT / 2}) rotate(-90)'"),
        *_grid(x_scale, y_scale),
    ]
    for index, (name, series) in enumerate(panel.series.items()):
        lines += _series(index, name, [(x_scale(x), y_scale(min(y, y_high))) for x, y in series], panel.has_markers)
    return "\n".join(lines)


def _grid(x_scale: _Scale, y_scale: _Scale) -> list[str]:
    lines = []
    for value in ticks(y_scale.low, y_scale.high):
        y = y_scale(value)
        lines.append(f'<line x1="{x_scale.begin}" x2="{x_scale.end}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        lines.append(_text(x_scale.begin - 6, y + 4, f"{value:.4g}", "text-anchor='end'"))
    for value in ticks(x_scale.low, x_scale.high, 8):
        x = x_scale(value)
        lines.append(f'<line x1="{x}" x2="{x}" y1="{y_scale.begin}" y2="{y_scale.begin + 4}" stroke="#555"/>')
        lines.append(_text(x, y_scale.begin + 17, f"{value:.4g}", "text-anchor='middle'"))
    base = y_scale.begin
    return [*lines, f'<line x1="{x_scale.begin}" x2="{x_scale.end}" y1="{base}" y2="{base}" stroke="#555"/>']


def _series(index: int, name: str, points: Points, has_markers: bool) -> list[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    path = " ".join(f"{x},{y}" for x, y in points)
    legend_x, legend_y = _WIDTH - _RIGHT + 12, _TOP + 18 * index
    lines = [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>',
        f'<rect x="{legend_x}" y="{legend_y}" width="12" height="4" fill="{colour}"/>',
        _text(legend_x + 17, legend_y + 7, name),
    ]
    if has_markers:
        lines += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return lines


def _text(x: float, y: float, content: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}" {attributes}>{escape(content)}</text>'
