"""The flags of `penstock bench`, and the experiment they describe: parsed once, then frozen."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.cli.experiment import read_file, with_overrides
from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL
from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.runtime.settings import gateway_api_key
from penstock.simulator.parsing import parse
from penstock.simulator.scenario import Scenario
from penstock_loadgen.endpoint import PATHS, EndpointSpec
from penstock_loadgen.live_run import Patience
from penstock_loadgen.validity import MAX_LATENESS_S
from penstock_loadgen.workload import WorkloadSpec

DESCRIPTION = """Drive any OpenAI-compatible endpoint, or the simulator, with a workload; measure what came of it.

Without a WORKLOAD file: 30 s of Poisson arrivals at 10 requests/s, log-normal lengths of 256 tokens in and 64 out.
`penstock bench compare A B` says which differences between two results are real.
"""
LIMIT = """
One process on one core of an AMD EPYC reads 40,000 streamed tokens/s on time, and falls behind at 60,000 (2026-11-25,
python -m benchmarks.client); beyond that, add --processes. A client that falls behind says so and marks its run
invalid: exit status 3."""

_DEFAULT_WORKLOAD: dict[str, Any] = {
    "num_requests": 0,
    "duration_s": 30.0,
    "arrivals": {"kind": "poisson", "rate": 10.0},
    "lengths": {"kind": "lognormal", "prompt_mean": 256, "output_mean": 64, "max_total_tokens": 2048},
}


_LIVE_ONLY = (
    *("url", "api_key", "model", "api", "natural_length"),
    *("processes", "timeout", "retries", "max_lateness"),
)
_SEARCH_ONLY = ("attainment", "precision")


@dataclass(frozen=True, slots=True)
class Search:
    """What `--find-goodput` looks for."""

    attainment: float
    precision: float


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Everything that was asked for."""

    workload: WorkloadSpec
    endpoint: EndpointSpec
    scenario: Scenario | None  # simulate this instead of asking the endpoint
    patience: Patience
    num_processes: int
    num_repeats: int
    max_lateness_s: float
    search: Search | None
    out: Path | None
    is_quiet: bool


def parse_options(argv: Sequence[str]) -> BenchOptions:
    """Raises InvalidSettings naming what does not fit; argparse itself ends the process on flags it does not know."""
    given = parser().parse_args(argv)
    if given.simulate:
        _refuse(given, _LIVE_ONLY, "is for an endpoint, and --simulate asks none")
    if not given.find_goodput:
        _refuse(given, _SEARCH_ONLY, "is for --find-goodput")
    workload = _workload(given)
    scenario = _scenario(given.simulate) if given.simulate else None
    if scenario is not None and workload.slo == Slo():
        workload = replace(workload, slo=scenario.slo)
    if given.find_goodput and workload.slo == Slo() and all(one.slo == Slo() for one in workload.mix):
        raise InvalidSettings(
            "--find-goodput", "no objective", "give --ttft, --tpot or --e2e, or `slo` in the workload"
        )
    return BenchOptions(
        workload=workload,
        endpoint=EndpointSpec(
            given.url, given.api_key or gateway_api_key(), given.model, given.api, not given.natural_length
        ),
        scenario=scenario,
        patience=Patience(given.timeout, given.retries),
        num_processes=given.processes,
        num_repeats=given.repeats,
        max_lateness_s=given.max_lateness,
        search=Search(given.attainment, given.precision) if given.find_goodput else None,
        out=given.out,
        is_quiet=given.quiet,
    )


def parser() -> argparse.ArgumentParser:
    """All flags, in the groups that --help shows."""
    made = argparse.ArgumentParser(
        "penstock bench",
        description=DESCRIPTION,
        epilog=LIMIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("workload", nargs="?", type=Path, metavar="WORKLOAD", help="YAML file; a scenario file works too")
    _add_target(made.add_argument_group("target"))
    _add_load(made.add_argument_group("load (each overrides the workload file)"))
    _add_objectives(made.add_argument_group("objectives, in seconds"))
    _add_client(made.add_argument_group("client"))
    return made


def _add_target(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--url", default=DEFAULT_URL, help="the endpoint (default: %(default)s)")
    group.add_argument("--api-key", default="", help=API_KEY_HELP)
    group.add_argument("--model", default="", help="default: the first one that the endpoint lists")
    group.add_argument("--api", choices=tuple(PATHS), default="chat", help="default: %(default)s")
    group.add_argument(
        "--natural-length",
        action="store_true",
        help="let answers end by themselves: without it `ignore_eos` is sent, which OpenAI itself refuses",
    )
    group.add_argument("--simulate", type=Path, metavar="SCENARIO", help="run it on this simulated cluster instead")


def _add_load(group: "argparse._ArgumentGroup") -> None:
    loop = group.add_mutually_exclusive_group()
    loop.add_argument("--rate", type=_positive, help="sessions (mostly: requests) per second, open loop")
    loop.add_argument("--concurrency", type=_count, help="closed loop with so many sessions at any time")
    group.add_argument("--requests", type=_count, help="sessions to send")
    group.add_argument("--duration", type=_positive, metavar="S", help="send nothing new after so many seconds")
    group.add_argument("--warm-up", type=float, metavar="S", help="do not count what is due before")
    group.add_argument("--seed", type=int)
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as lengths.prompt_mean=900"
    )
    group.add_argument("--repeats", type=_count, default=1, help="runs, each with another seed (default: 1)")


def _add_objectives(group: "argparse._ArgumentGroup") -> None:
    for name in ("ttft", "tpot", "e2e"):
        group.add_argument(f"--{name}", type=_positive, metavar="S")
    group.add_argument("--find-goodput", action="store_true", help="bisect for the highest rate that attains them")
    group.add_argument("--attainment", type=_share, default=0.9, help="share of requests (default: %(default)s)")
    group.add_argument("--precision", type=_share, default=0.05, help="of the rate found (default: %(default)s)")


def _add_client(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--processes", type=_count, default=1, help="load processes; one fills a core (default: 1)")
    group.add_argument("--timeout", type=_positive, default=600.0, metavar="S", help="of a request (default: 600)")
    group.add_argument("--retries", type=int, default=0, help="after 429, 503 or no connection (default: 0)")
    group.add_argument(
        "--max-lateness",
        type=_positive,
        default=MAX_LATENESS_S,
        metavar="S",
        help="of the client at P99, above which a run is invalid (default: %(default)s)",
    )
    group.add_argument("--out", type=Path, metavar="FOLDER", help="default: bench-results/TIME-NAME")
    group.add_argument("--quiet", action="store_true", help="no progress, only the result")


def _refuse(given: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Raise for a flag that would not be honoured."""
    defaults = parser()
    for name in names:
        value = getattr(given, name)
        if value != defaults.get_default(name):
            shown = "..." if name == "api_key" else value
            raise InvalidSettings(f"--{name.replace('_', '-')}", shown, reason)


def _workload(given: argparse.Namespace) -> WorkloadSpec:
    raw: dict[str, Any] = _DEFAULT_WORKLOAD
    if given.workload:
        read = read_file(given.workload)
        raw = read.get("workload", read)  # of a scenario file, only its traffic
        raw = {"name": given.workload.stem, **raw}
    raw = with_overrides(raw, given.set)
    arrivals = dict(raw.get("arrivals") or {})
    if given.rate:
        if raw.get("trace"):
            raise InvalidSettings("--rate", given.rate, "a trace has its own; --set trace.speed=2 plays it faster")
        arrivals |= {
            "rate": given.rate,
            "kind": "poisson" if arrivals.get("kind") == "closed" else arrivals.get("kind"),
        }
    if given.concurrency:
        arrivals |= {"kind": "closed", "concurrency": given.concurrency}
    raw["arrivals"] = {key: value for key, value in arrivals.items() if value is not None}
    return parse(WorkloadSpec, _bounded(raw, given), "workload")


def _bounded(raw: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """With the flags that stand for single keys; a bound on the command line lifts the other one of the file."""
    bounds = {"num_requests": given.requests, "duration_s": given.duration}
    if given.requests or given.duration:
        raw = {key: value for key, value in raw.items() if key not in bounds}
        raw |= {"num_requests": given.requests or 0, "duration_s": given.duration or float("inf")}
    more = {"warm_up_s": given.warm_up, "seed": given.seed}
    slo = {f"{name}_s": getattr(given, name) for name in ("ttft", "tpot", "e2e") if getattr(given, name)}
    if slo:
        more["slo"] = {**(raw.get("slo") or {}), **slo}
    return {**raw, **{key: value for key, value in more.items() if value is not None}}


def _scenario(path: Path) -> Scenario:
    raw = read_file(path)
    return parse(Scenario, {key: value for key, value in raw.items() if key not in ("workload", "sweep")})


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
