"""`penstock bench`: one experiment, two targets, one report."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from penstock.cli import bench_compare, bench_tables
from penstock.cli.bench_options import BenchOptions, Search, parse_options
from penstock.cli.bench_progress import BenchProgress
from penstock.core.errors import InvalidSettings
from penstock.runtime import clock
from penstock_loadgen.experiment import Experiment, Trial, search_goodput
from penstock_loadgen.results import write_results
from penstock_loadgen.targets import LiveTarget, Outcome, SimulatedTarget, live_target
from penstock_loadgen.workload import WorkloadSpec

EXIT_INVALID = 3  # it ran, and what it measured is worth nothing
RESULTS_FOLDER = Path("bench-results")


def main(argv: list[str]) -> int:
    """Run `penstock bench`."""
    if argv[:1] == ["compare"]:
        return bench_compare.main(argv[1:])
    options = parse_options(argv)
    folder = _new_folder(options)
    bench = Bench(options, _target(options))
    experiment, trials = bench.find_goodput(options.search) if options.search else bench.repeat(options.workload)
    Console().print(bench_tables.result(experiment))
    write_results(folder, experiment, trials)
    Console().print(Text(f"\n{folder / 'report.html'}  summary.json  requests.jsonl"))
    return 0 if experiment.is_valid else EXIT_INVALID


class Bench:
    """Runs trials one after another and shows them."""

    def __init__(self, options: BenchOptions, target: LiveTarget | SimulatedTarget) -> None:
        self._options = options
        self._target = target
        self._about = {**target.describe(), "started": _now().strftime("%Y-%m-%d %H:%M UTC")}
        self._console = Console(stderr=True)

    def repeat(self, workload: WorkloadSpec) -> tuple[Experiment, list[Trial]]:
        """The workload as often as asked for; Ctrl-C ends the series."""
        trials: list[Trial] = []
        for number in range(self._options.num_repeats):
            title = f"run {number + 1} of {self._options.num_repeats}"
            trials.append(self.trial(workload.repeat(number), title))
            if trials[-1].outcome.is_interrupted:
                break
        return Experiment.of(workload, self._about, trials), trials

    def find_goodput(self, search: Search) -> tuple[Experiment, list[Trial]]:
        """Bisect, then say what the best rate looked like: from the search, or from repeats of its own."""
        workload, tried = self._options.workload, list[Trial]()

        def attained_at(rate: float) -> Trial:
            tried.append(self.trial(workload.at_rate(rate), f"goodput: trying {rate:.3g}"))
            if tried[-1].outcome.is_interrupted:
                raise KeyboardInterrupt
            self._console.print(Text(_attained(rate, tried[-1])))
            return tried[-1]

        found = search_goodput(attained_at, workload.rate, search.attainment, search.precision)
        best = [trial for trial in tried if trial.repeat.rate == found.rate] or tried[-1:]
        if found.rate and self._options.num_repeats > 1:
            experiment, shown = self.repeat(workload.at_rate(found.rate))
        else:
            experiment, shown = Experiment.of(workload, self._about, best), best
        return replace(experiment, goodput=found), shown

    def trial(self, workload: WorkloadSpec, title: str) -> Trial:
        """One run."""
        name = workload.name or "bench"
        num_requests = workload.num_requests if all(one.turns.max == 1 for one in workload.mix) else 0
        shown = BenchProgress(
            self._console, f"{name}, {title}", workload.duration_s, num_requests, self._options.is_quiet
        )
        with shown:
            outcome: Outcome = self._target.run(workload, shown.show)
        return Trial.of(workload, outcome)


def _target(options: BenchOptions) -> LiveTarget | SimulatedTarget:
    if options.scenario is not None:
        return SimulatedTarget(options.scenario)
    return live_target(options.endpoint, options.patience, options.num_processes, options.max_lateness_s)


def _attained(rate: float, trial: Trial) -> str:
    note = "" if trial.repeat.validity.is_valid else " (invalid)"
    return f"  {rate:8.3g}: {trial.repeat.summary.attainment:.1%} attained{note}"


def _new_folder(options: BenchOptions) -> Path:
    """Made before anything is measured: better to fail now."""
    stamp = _now().strftime("%Y%m%d-%H%M%S")
    folder = options.out or RESULTS_FOLDER / f"{stamp}-{options.workload.name or 'bench'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings("--out", str(folder), error.strerror or "cannot be made") from error
    return folder


def _now() -> datetime:
    return datetime.fromtimestamp(clock.wall_s(), UTC)
