"""`penstock simulate`: run a scenario file in virtual time, and show what came of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from penstock.cli import simulation_report
from penstock.cli.experiment import Point, points, read_file, with_overrides
from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.simulator.cluster import Cluster
from penstock.simulator.profiled import profiled
from penstock.simulator.report import Report, report
from penstock_loadgen.simulated_run import play
from penstock_loadgen.workload import WorkloadSpec, generate

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_PROGRESS_STEP = 50  # requests: drawing the bar for each would cost more than simulating it


@app.command()
def simulate(
    scenario: Annotated[Path, typer.Argument(help="scenario file (YAML); scenarios/ holds some")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as pools.0.count=4")] = None,
    costs_file: Annotated[Path | None, typer.Option("--costs", help="of `penstock profile`: use its costs")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything there, for programs")] = None,
    svg_file: Annotated[Path | None, typer.Option("--svg", help="write the plots there")] = None,
) -> None:
    """Run a scenario in virtual time with the policies of the live system, and print what came of it."""
    todo = list(points(with_overrides(read_file(scenario), overrides or [])))
    if not todo:
        raise InvalidSettings("sweep.values", "[]", "must name at least one value")
    if costs_file is not None:
        todo = [replace(point, scenario=profiled(point.scenario, costs_file)) for point in todo]
    for point in todo:
        _refuse_objectives(point.workload)
    reports = _run_all(todo)
    Console().print(*simulation_report.tables(todo, reports), sep="\n")
    if json_file is not None:
        write_file(json_file, json.dumps(simulation_report.as_data(todo, reports), indent=1))
    if svg_file is not None:
        write_file(svg_file, simulation_report.plots(todo, reports))


def main(argv: list[str]) -> int:
    """Run `penstock simulate`."""
    app(argv, prog_name="penstock simulate")
    return 0


def run(point: Point, on_progress: Callable[[int], None]) -> Report:
    """One run; `on_progress` hears how many more requests have ended."""
    cluster = Cluster(point.scenario, on_progress)
    if point.workload.is_listable:
        cluster.run(generate(point.workload))
    else:
        play(cluster, point.workload)
    return report(cluster)


def _refuse_objectives(workload: WorkloadSpec) -> None:
    """A workload's own objectives and warm-up are for `penstock bench`; the report here judges by the scenario's."""
    by_key: dict[str, tuple[object, object]] = {
        "workload.slo": (workload.slo, Slo()),
        **{f"workload.classes.{one.name}.slo": (one.slo, Slo()) for one in workload.classes},
        "workload.warm_up_s": (workload.warm_up_s, 0.0),
    }
    for key, (value, default) in by_key.items():
        if value != default:
            raise InvalidSettings(key, value, "is for `penstock bench`; here the scenario's slo judges every request")


def _run_all(todo: list[Point]) -> list[Report]:
    reports: list[Report] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for number, point in enumerate(todo, 1):
            total = point.workload.num_requests or None  # of a whole trace nobody knows before its end
            task = progress.add_task(f"run {number} of {len(todo)}", total=total)
            num_ended = 0

            def advance(num_more: int) -> None:
                nonlocal num_ended
                num_ended += num_more
                if num_ended % _PROGRESS_STEP == 0:
                    progress.update(task, completed=num_ended)  # noqa: B023

            reports.append(run(point, advance))
    return reports


def write_file(path: Path, text: str) -> None:
    """Write what a user asked for; a place that cannot be written to is an unusable setting."""
    try:
        path.write_text(text, encoding="utf8")
    except OSError as error:
        raise InvalidSettings("file", str(path), error.strerror or "cannot be written") from error
