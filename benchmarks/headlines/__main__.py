"""`make headlines`: measure every claim again, and print one table.

python -m benchmarks.headlines [--only PAPER ...] [--short] [--traces DIR] [--jobs N] [--json FILE] [--svg FILE]
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.headlines.experiments import REPOSITORY
from benchmarks.headlines.papers import PAPERS
from benchmarks.headlines.row import Effort, Row
from benchmarks.headlines.table import as_data, chart, table
from penstock.core.errors import PenstockError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a paper could not be measured, which is said where its rows would be."""
    options = _options(argv)
    effort = Effort(not options.short, options.traces)
    rows: dict[str, list[Row]] = {}
    failures: dict[str, PenstockError] = {}
    for paper, result in _measured(options.only or list(PAPERS), effort, options.jobs):
        if isinstance(result, PenstockError):
            failures[paper] = result
        else:
            rows[paper] = result
    ordered = [row for paper in PAPERS for row in rows.get(paper, [])]
    console = Console()
    # a table that is piped into a file is as wide as it needs to be
    Console(width=None if console.is_terminal else 200).print(table(ordered))
    for paper, error in failures.items():
        console.print(f"{paper}: not measured. {error.message}")
    if options.json:
        options.json.write_text(json.dumps(as_data(ordered), indent=1), encoding="utf8")
    if options.svg:
        options.svg.write_text(chart(ordered), encoding="utf8")
    return 1 if failures else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.headlines", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PAPERS), metavar="PAPER", help=", ".join(PAPERS))
    parser.add_argument("--short", action="store_true", help="few requests: direction, not figures")
    parser.add_argument("--traces", type=Path, default=REPOSITORY.parent / "shared" / "traces")
    parser.add_argument("--jobs", type=int, default=1, help="papers measured at once, each in a process of its own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    return parser.parse_args(argv)


def _measured(papers: Sequence[str], effort: Effort, num_jobs: int) -> Iterator[tuple[str, list[Row] | PenstockError]]:
    """Each paper's rows, or why there are none, as they come."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with ProcessPoolExecutor(num_jobs) as pool, Progress(*columns, console=console) as progress:
        task = progress.add_task("headlines", total=len(papers))
        running = {pool.submit(PAPERS[paper], effort): paper for paper in papers}
        for future in as_completed(running):
            paper = running.pop(future)
            progress.update(task, advance=1, description=f"done: {paper}")
            error = future.exception()
            if error is None:
                yield paper, future.result()
            elif isinstance(error, PenstockError):
                yield paper, error
            else:
                raise error


if __name__ == "__main__":
    sys.exit(main())
