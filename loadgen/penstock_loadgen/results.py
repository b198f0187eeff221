"""A result on disk, and back: raw JSON lines, a summary for programs, a report for people.

FOLDER/requests.jsonl    one line per request of every repeat
FOLDER/summary.json      what `penstock bench compare` and CI read
FOLDER/report.html       self-contained, readable offline
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.core.errors import InvalidSettings
from penstock_loadgen.experiment import Experiment, Trial
from penstock_loadgen.report.page import page

Raw = dict[str, Any]
"""A request as in the raw file: `RequestRecord.as_data`."""

RAW, SUMMARY, REPORT = "requests.jsonl", "summary.json", "report.html"


def write_results(folder: Path, experiment: Experiment, trials: Sequence[Trial]) -> None:
    """All three files."""
    try:
        with (folder / RAW).open("wb") as file:
            file.writelines(_lines(trials))
        (folder / SUMMARY).write_text(json.dumps(experiment.as_data(), indent=1), encoding="utf8")
        (folder / REPORT).write_text(page(experiment, trials), encoding="utf8")
    except OSError as error:
        raise InvalidSettings("--out", str(folder), error.strerror or "cannot be written") from error


def _lines(trials: Sequence[Trial]) -> Iterator[bytes]:
    for number, trial in enumerate(trials):
        for record in trial.outcome.records:
            yield orjson.dumps({"repeat": number, **record.as_data()}) + b"\n"


@dataclass(frozen=True, slots=True)
class Result:
    """What comparing needs of one result."""

    name: str
    figures: list[dict[str, float]]  # of each repeat
    requests: list[list[Raw]]  # the counted ones of each repeat, as in the raw file
    is_valid: bool


def read_result(folder: Path) -> Result:
    """A result folder, as written above."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf8"))
        requests: list[list[Raw]] = [[] for _ in summary["repeats"]]
        with (folder / RAW).open("rb") as file:
            for line in file:
                request = orjson.loads(line)
                if not request["is_warm_up"]:
                    requests[request["repeat"]].append(request)
        figures = [dict(repeat["figures"]) for repeat in summary["repeats"]]
        return Result(summary["name"], figures, requests, summary["is_valid"])
    except OSError as error:
        raise InvalidSettings("result", str(folder), error.strerror or "cannot be read") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InvalidSettings("result", str(folder), f"is no result of penstock bench ({error!r})") from error
