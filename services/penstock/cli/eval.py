"""`penstock eval builtin`: held-out questions over HTTP, and how many the model answers right. A change broke nothing
when the numbers are those of before.
"""

import argparse
import asyncio
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL
from penstock.core.errors import InvalidSettings
from penstock.runtime import clock
from penstock.runtime.settings import gateway_api_key
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.questions.asking import Asking, Graded, TaskResult, ask_all, by_task
from penstock_loadgen.questions.tasks import PICTURE_TASKS, TASKS, TEXT_TASKS

SHORTHANDS = {"all": tuple(TASKS), "text": tuple(TEXT_TASKS), "pictures": tuple(PICTURE_TASKS)}


def main(argv: list[str]) -> int:
    """Run `penstock eval`; 1 when a task falls short of --at-least."""
    flags = _parser().parse_args(argv)
    endpoint = EndpointSpec(flags.url, flags.api_key or gateway_api_key(), flags.model)
    asking = Asking(endpoint, flags.questions, flags.concurrency, flags.timeout)
    graded = asyncio.run(ask_all(asking, _tasks(flags.tasks), clock.now_s))
    results = by_task(graded)
    if flags.json:
        print(json.dumps(_as_data(results, graded), indent=1))
    else:
        _show(results, graded)
    return int(any(one.accuracy < flags.at_least for one in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("penstock eval", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("questions_of", choices=("builtin",), metavar="builtin", help="whose questions: those of the built-in model")
    add("--url", default=DEFAULT_URL, help="the endpoint (default: %(default)s)")
    add("--api-key", default="", help=API_KEY_HELP)
    add("--model", default="", help="default: the first one that the endpoint lists")
    add("--tasks", default="all", metavar="NAMES", help=f"some of {', '.join(TASKS)}; or text, pictures (default: all)")
    add("--questions", type=_count, default=50, metavar="N", help="of each task, always the same ones (default: 50)")
    add("--concurrency", type=_count, default=8, metavar="N", help="requests at once (default: 8)")
    add("--timeout", type=float, default=120.0, metavar="S", help="of a request (default: 120)")
    add("--at-least", type=_share, default=0.0, metavar="SHARE", help="exit with 1 when a task has less (default: 0)")
    add("--json", action="store_true", help="every question and answer, for programs")
    return parser


def _tasks(names: str) -> list[str]:
    tasks: list[str] = []
    for name in names.split(","):
        if name not in SHORTHANDS and name not in TASKS:
            raise InvalidSettings("--tasks", name, f"must be among {', '.join((*SHORTHANDS, *TASKS))}")
        tasks += SHORTHANDS.get(name, (name,))
    return list(dict.fromkeys(tasks))


def _show(results: list[TaskResult], graded: list[Graded]) -> None:
    table = Table("task", "right", "of", "accuracy", "failed", box=None, pad_edge=False)
    for one in results:
        failed = str(one.num_failed) if one.num_failed else ""
        table.add_row(one.task, str(one.num_right), str(one.num_questions), f"{one.accuracy:.1%}", failed)
    console = Console()
    console.print(table)
    error = next((one.error for one in graded if one.error), "")
    if error:
        console.print(f"\nfirst failure: {error}", markup=False, highlight=False)


def _as_data(results: list[TaskResult], graded: list[Graded]) -> dict[str, object]:
    tasks = {one.task: {**asdict(one), "accuracy": one.accuracy} for one in results}
    return {"tasks": tasks, "answers": [asdict(one) for one in graded]}


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value
