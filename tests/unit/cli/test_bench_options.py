"""From flags and a workload file to an experiment."""

from pathlib import Path

import pytest

from penstock.cli.bench_options import parse_options
from penstock.core.errors import InvalidSettings
from penstock.core.types import Role

WORKLOADS = Path("workloads")


def test_without_a_file_there_is_a_default_workload() -> None:
    options = parse_options([])
    assert options.workload.duration_s == 30.0
    assert options.workload.arrivals.rate == 10.0
    assert options.endpoint.url == "http://127.0.0.1:8000"
    assert options.scenario is None and options.search is None


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("num_requests: 500\nslo: {tpot_s: 0.1}\narrivals: {kind: gamma, rate: 3, cv: 4}\n")
    flags = ["--rate=7", "--duration=20", "--ttft=0.5", "--set", "lengths.prompt_mean=9"]
    workload = parse_options([str(path), *flags]).workload
    arrivals = workload.arrivals
    assert (workload.name, arrivals.kind, arrivals.rate, arrivals.cv) == ("mine", "gamma", 7, 4)
    assert (workload.num_requests, workload.duration_s) == (0, 20.0)
    assert (workload.slo.ttft_s, workload.slo.tpot_s) == (0.5, 0.1)
    assert workload.lengths.prompt_mean == 9


def test_a_scenario_file_gives_its_traffic_or_its_cluster() -> None:
    options = parse_options(["scenarios/disaggregated.yaml", "--simulate=scenarios/colocated.yaml"])
    assert options.workload.num_requests == 2000
    assert options.scenario is not None
    assert [pool.role for pool in options.scenario.pools] == [Role.MIXED]
    assert options.workload.slo == options.scenario.slo


def test_a_closed_loop_and_an_open_one_are_a_flag_apart() -> None:
    closed = parse_options(["--concurrency=8"]).workload.arrivals
    assert (closed.kind, closed.concurrency) == ("closed", 8)
    assert parse_options(["--concurrency=8", "--set", "arrivals.kind=uniform"]).workload.arrivals.is_closed


@pytest.mark.parametrize("path", sorted(WORKLOADS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_workloads_are_understood(path: Path) -> None:
    assert parse_options([str(path)]).workload.name


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--find-goodput"], "--ttft"),
        (["--url=localhost:8000"], "url"),
        (["--set", "arrivals.kind=sometimes"], "arrivals.kind"),
        (["--set", "classes=[{name: a, sahre: 2}]"], "sahre"),
        (["nothing.yaml"], "nothing.yaml"),
        (["workloads/mooncake_conversation.yaml", "--rate=5"], "trace.speed"),
        (["--warm-up=30", "--duration=20"], "warm_up_s"),
        (["--attainment=0.99"], "--attainment=0.99: is for --find-goodput"),
        *(
            (["--simulate=scenarios/colocated.yaml", flag], f"{flag.partition('=')[0]}=.*--simulate asks none")
            for flag in (
                "--url=http://other:80",
                "--model=tiny",
                "--api=completions",
                "--natural-length",
                "--processes=2",
                "--timeout=1",
                "--retries=1",
                "--max-lateness=1",
            )
        ),
    ],
)
def test_what_does_not_fit_is_named(flags: list[str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        parse_options(flags)


def test_a_key_that_is_not_used_is_not_shown_either() -> None:
    with pytest.raises(InvalidSettings, match="--api-key") as refused:
        parse_options(["--simulate=scenarios/colocated.yaml", "--api-key=hunter2"])
    assert "hunter2" not in refused.value.message


def test_a_loop_is_open_or_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--rate=5", "--concurrency=8"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--rate=0", "--repeats=0", "--attainment=1.5", "--processes=many", "--rat=5"])
def test_bad_numbers_and_unknown_flags_end_at_the_parser(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options([flag])
    assert flag.partition("=")[0] in capsys.readouterr().err
