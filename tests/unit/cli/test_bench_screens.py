"""What `penstock bench` prints: progress, result, comparison."""

import io
from collections import Counter
from dataclasses import replace

from rich.console import Console

from penstock.cli import bench_compare, bench_tables
from penstock.cli.bench_progress import BenchProgress
from penstock_loadgen.compare import BOOTSTRAP, MANN_WHITNEY, Comparison, Difference
from penstock_loadgen.experiment import Experiment, GoodputFound, Probe, Trial
from penstock_loadgen.meter import Reading
from penstock_loadgen.results import Result
from penstock_loadgen.targets import Outcome
from penstock_loadgen.validity import Validity
from penstock_loadgen.workload import WorkloadSpec
from tests.unit.loadgen.records import record

LIVE = {"kind": "live", "url": "http://127.0.0.1:8000", "model": "tiny"}


def printed(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(*parts, sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def experiment(*trials: Trial, goodput: GoodputFound | None = None) -> Experiment:
    return replace(Experiment.of(WorkloadSpec(name="x"), LIVE, trials), goodput=goodput)


def trial(validity: Validity, *kinds: str) -> Trial:
    records = [record(index, kind=kind, class_name="ab"[index % 2]) for index, kind in enumerate(kinds)]
    return Trial.of(WorkloadSpec(), Outcome(records, validity))


def test_progress_shows_rates_percentiles_errors_and_the_clients_own_lateness() -> None:
    console = Console(file=io.StringIO(), width=100)
    progress = BenchProgress(console, "x, run 1 of 2", 30.0, 0, is_quiet=False)
    progress.show(10.0, Reading(num_sent=100, num_ended=90, num_tokens=1000))
    late = Reading(200, 180, 3000, Counter({"http_429": 3}), [0.1] * 9 + [0.5], [0.02], max_lateness_s=0.2)
    progress.show(12.0, late)
    shown = printed(progress.panel(12.0, late))
    for words in ("50.0", "45.0", "1,000", "20", "100.0 ms", "20.0 ms", "failed: 3 http_429", "200.0 ms", "12 of 30 s"):
        assert words in shown
    assert "waiting for 20 answers" in printed(progress.panel(31.0, late))


def test_nothing_is_shown_when_quiet() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with BenchProgress(console, "x", 30.0, 0, is_quiet=True) as progress:
        progress.show(1.0, Reading(1))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_a_result_says_whether_it_is_valid() -> None:
    assert "valid: the client was on time" in printed(bench_tables.result(experiment(trial(Validity(), ""))))
    shown = printed(bench_tables.result(experiment(trial(Validity(("the client fell behind",)), ""))))
    assert "INVALID (seed 0): the client fell behind." in shown


def test_a_result_counts_every_end_and_shows_classes() -> None:
    shown = printed(bench_tables.result(experiment(trial(Validity(), "", "", "cancelled", "http_500"))))
    assert "4 requests: 2 finished, 1 failed, 1 given up on purpose" in shown
    assert "failures: 1 http_500" in shown
    assert "class" in shown and "attained" in shown


def test_repeats_have_intervals_and_a_search_its_rate() -> None:
    found = GoodputFound(8.0, 0.95, 0.9, (Probe(8.0, 0.95, True),))
    shown = printed(bench_tables.result(experiment(trial(Validity(), ""), trial(Validity(), "", ""), goodput=found)))
    assert "mean of 2 runs" in shown
    assert "goodput: 8 sessions/s attain 95.0% (goal 90%)" in shown


def test_a_comparison_says_what_is_real_and_by_which_test() -> None:
    rows = (Difference("TTFT p50", 0.1, 0.2, True, p=0.029), Difference("requests/s", 0.0, 0.0, False, p=1.0))
    shown = printed(bench_compare.table(Comparison(MANN_WHITNEY, rows)))
    (line,) = [line for line in shown.splitlines() if "TTFT p50" in line]
    assert line.split() == ["TTFT", "p50", "(ms)", "100", "200", "+100.0%", "p", "=", "0.029", "yes"]


def test_a_comparison_says_what_it_cannot_see() -> None:
    fine, late = Result("a", [], [], True), Result("b", [], [], False)
    rows = (Difference("TTFT p50", 0.1, 0.2, True, low=0.05, high=0.15),)
    shown = printed(*bench_compare.notes(fine, late, Comparison(BOOTSTRAP, rows)))
    assert "1 of 1 differences are real" in shown
    assert "--repeats" in shown
    assert "B is invalid" in shown and "A is invalid" not in shown
