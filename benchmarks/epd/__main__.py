"""`make bench-epd`: time to first token of requests with images, E-P-D beside encoding with prefill, four workers each.

The systems stand side by side and are loaded in turns, with the same requests. Questions:

splits   which split of four workers without encoders is the best: it is what E-P-D is compared with
paper    mock engine with EPD's published costs: the curve over images per request, queueing, the caches
h200     the same curve with the costs of an H200's kernels alone
real     the same curve with a model that is really computed, on these cores
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks import machine
from benchmarks.epd.figures import Sheet
from benchmarks.epd.loads import Load, again, one_at_a_time, open_loop
from benchmarks.epd.measure import in_turns, systems, warm_up
from benchmarks.epd.report import as_page, as_text
from benchmarks.epd.sides import ENCODERS, H200, PAPER, REAL, SPLITS, Engine

NUM_IMAGES = (1, 2, 4, 8)
NUM_IMAGES_AT_RATES = 4
NUM_TIMES_AGAIN = 4
PARTS = ("splits", "paper", "h200", "real")


@dataclass
class Run:
    """What was asked for, and what has come of it."""

    rates: Sequence[float]
    num_rounds: int
    num_requests: int
    duration_s: float
    folder: Path  # of models
    split: str = "P P P D"
    sheets: list[Sheet] = field(default_factory=list)

    @property
    def sides(self) -> tuple[str, str]:
        return ENCODERS, self.split

    async def splits(self) -> None:
        """At the higher rate, which is where they differ."""
        sheet = Sheet("Splits of four workers that encode with prefill", PAPER.source, "requests/s", tuple(SPLITS))
        rate = max(self.rates)
        await self._measure(PAPER, [open_loop(sheet, PAPER.picture, NUM_IMAGES_AT_RATES, rate, self.duration_s)])
        means = {name: sheet.cell(rate, name).mean_s for name in SPLITS}
        self.split = min(SPLITS, key=lambda name: means[name])

    async def paper(self) -> None:
        """Everything that the mock engine can show."""
        curve = Sheet("Images per request, one request at a time", PAPER.source, "images", self.sides)
        queue = Sheet(
            f"Requests of {NUM_IMAGES_AT_RATES} images, Poisson arrivals", PAPER.source, "requests/s", self.sides
        )
        loads = self._curve(curve, PAPER)
        for rate in self.rates:
            loads.append(open_loop(queue, PAPER.picture, NUM_IMAGES_AT_RATES, rate, self.duration_s))
        for are_words_first, cached in ((True, "the embeddings"), (False, "the prompt's beginning, KV and all")):
            title = f"The same four images again, one request at a time: {cached} are cached"
            sheet = Sheet(title, PAPER.source, "request no.", self.sides)
            loads.append(again(sheet, PAPER.picture, are_words_first, NUM_TIMES_AGAIN))
        await self._measure(PAPER, loads)

    async def h200(self) -> None:
        """Where encoding costs little beside all else."""
        sheet = Sheet("The same with the kernels of an H200", H200.source, "images", self.sides)
        await self._measure(H200, self._curve(sheet, H200))

    async def real(self) -> None:
        """Absolute figures, of this machine."""
        sheet = Sheet("A model that is computed on this machine", REAL.source, "images", self.sides)
        await self._measure(REAL, self._curve(sheet, REAL))

    def _curve(self, sheet: Sheet, engine: Engine) -> list[Load]:
        return [one_at_a_time(sheet, engine.picture, number, self.num_requests) for number in NUM_IMAGES]

    async def _measure(self, engine: Engine, loads: Sequence[Load]) -> None:
        sheets = list({id(load.sheet): load.sheet for load in loads}.values())
        async with systems(sheets[0].sides, engine, self.folder) as running:
            await warm_up(running, one_at_a_time(sheets[0], engine.picture, NUM_IMAGES_AT_RATES, 2))
            await in_turns(running, loads, self.num_rounds)
        self.sheets += sheets
        Console(width=140).print(*map(as_text, sheets), sep="\n")


async def measure(run: Run, parts: Sequence[str], out: Path) -> None:
    for part in parts:
        await {"splits": run.splits, "paper": run.paper, "h200": run.h200, "real": run.real}[part]()
        write(out, run)  # what is measured is kept, whatever comes


def write(folder: Path, run: Run) -> None:
    """JSON for programs, a page for people."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = [*machine.describe().splitlines(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")]
    data = {"facts": facts, "split": run.split, "sheets": [sheet.as_data() for sheet in run.sheets]}
    (folder / "epd.json").write_text(json.dumps(data, indent=1), encoding="utf8")
    (folder / "report.html").write_text(as_page(run.sheets, facts), encoding="utf8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="questions (default: all)")
    parser.add_argument("--split", choices=tuple(SPLITS), default="P P P D", help="where `splits` is not asked")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=2, help="of a run, one at a time (default: %(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[0.25, 0.75], help="requests/s (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=25.0, help="of a run at a rate (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench-results/epd"), help="folder of report and JSON")
    given = parser.parse_args()
    print(machine.describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(given.rates, given.rounds, given.requests, given.seconds, Path(folder), given.split)
        uvloop.run(measure(run, [part for part in PARTS if part in given.only], given.out))
    print(given.out / "report.html")


if __name__ == "__main__":
    main()
