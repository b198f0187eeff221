"""What was measured: sheets of rows, of which each side has a cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from penstock.core.timeline import percentile

PERCENTILES = {"p50": 0.5, "p90": 0.9}


@dataclass(slots=True)
class Cell:
    """Requests of one side, of all rounds."""

    ttft_s: list[float] = field(default_factory=list)
    num_failed: int = 0

    @property
    def mean_s(self) -> float:
        """Infinity where no request was answered."""
        return fmean(self.ttft_s) if self.ttft_s else float("inf")

    def percentile_s(self, fraction: float) -> float | None:
        return percentile(sorted(self.ttft_s), fraction) if self.ttft_s else None

    def as_data(self) -> dict[str, Any]:
        """For JSON; seconds to the microsecond."""
        figures = {name: self.percentile_s(fraction) for name, fraction in PERCENTILES.items()}
        values = [round(value, 6) for value in self.ttft_s]
        return {"num_failed": self.num_failed, **figures, "ttft_s": values}


@dataclass(slots=True)
class Count:
    """Images of one side's requests, and those of them that went through a vision tower."""

    num_asked: int = 0
    num_encoded: int = 0


@dataclass(slots=True)
class Sheet:
    """One question. `x` of a row is what `unit` counts; the last side is what the others are compared with."""

    title: str
    note: str
    unit: str
    sides: tuple[str, ...]
    rows: dict[float, dict[str, Cell]] = field(default_factory=dict)
    images: dict[str, Count] = field(default_factory=dict)
    num_runs: int = 0
    invalid: list[str] = field(default_factory=list)  # runs that measured the client too, and why

    def cell(self, x: float, side: str) -> Cell:
        return self.rows.setdefault(x, {}).setdefault(side, Cell())

    def count(self, side: str) -> Count:
        return self.images.setdefault(side, Count())

    def ratio(self, x: float, side: str, fraction: float = 0.5) -> float | None:
        """How many times longer the last side's first token takes; above 1, `side` is faster."""
        ours = self.cell(x, side).percentile_s(fraction)
        theirs = self.cell(x, self.sides[-1]).percentile_s(fraction)
        return theirs / ours if ours and theirs else None

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "note": self.note,
            "unit": self.unit,
            "rows": [
                {
                    "x": x,
                    "sides": {side: cell.as_data() for side, cell in cells.items()},
                    "ratio_p50": self.ratio(x, self.sides[0]),
                }
                for x, cells in self.rows.items()
            ],
            "images": {
                side: {"asked": count.num_asked, "encoded": count.num_encoded} for side, count in self.images.items()
            },
            "num_runs": self.num_runs,
            "invalid": self.invalid,
        }


def doubt(sheet: Sheet) -> str:
    """Nothing, where every run was valid. First tokens count from the sending, however late that was."""
    if not sheet.invalid:
        return ""
    return f"In {len(sheet.invalid)} of {sheet.num_runs} runs the client was late, as in {sheet.invalid[0]}"


def head(sheet: Sheet) -> list[str]:
    """Of the table below."""
    names = [f"{side} {name}" for side in sheet.sides for name in PERCENTILES]
    return [sheet.unit, *names, "ratio p50", "p90", "requests", "failed"]


def body(sheet: Sheet) -> list[list[str]]:
    """A line per row; seconds."""
    return [_line(sheet, x, cells) for x, cells in sheet.rows.items()]


def images_line(sheet: Sheet) -> str:
    """What the encoders were spared."""
    counts = (
        f"{side}: {count.num_encoded} encoded of {count.num_asked} images" for side, count in sheet.images.items()
    )
    return "; ".join(counts)


def _line(sheet: Sheet, x: float, cells: Mapping[str, Cell]) -> list[str]:
    times = [cells[side].percentile_s(fraction) for side in sheet.sides for fraction in PERCENTILES.values()]
    ratios = [sheet.ratio(x, sheet.sides[0], fraction) for fraction in PERCENTILES.values()]
    numbers = [sum(len(cells[side].ttft_s) + cells[side].num_failed for side in sheet.sides)]
    numbers.append(sum(cells[side].num_failed for side in sheet.sides))
    return [
        f"{x:g}",
        *(_shown(value, 3) for value in times),
        *(_shown(value, 2) for value in ratios),
        *map(str, numbers),
    ]


def _shown(value: float | None, num_digits: int) -> str:
    return "-" if value is None else f"{value:.{num_digits}f}"
