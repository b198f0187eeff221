"""How many GPUs should do what, for a model, a workload and its objectives: search parallelism, pools and batch limits
for the most requests per second, in the simulator."""

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from penstock.cli.helm_values import helm_values
from penstock.cli.plan_inputs import cost_spec, traffic_of
from penstock.cli.plan_report import as_data, sentences, table
from penstock.cli.simulate import write_file
from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.scheduler.planning import trials_on_ray
from penstock.simulator.placement.plan import Plan, make_plan
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.trials import Evaluate, run_here, run_trial
from penstock.simulator.profiled import profiled_cost


def main(argv: list[str]) -> int:
    """Run `penstock plan`; 1 when nothing holds the objectives."""
    flags = _parser().parse_args(argv)
    question = _question(flags)
    errors = Console(stderr=True)
    with _evaluation(flags.ray, flags.jobs or os.cpu_count() or 1) as evaluate, errors.status("planning") as status:
        found = make_plan(question, evaluate, lambda what: status.update(f"simulating {what}"))
    _show(found, flags.cost)
    if flags.helm_values is not None:
        write_file(flags.helm_values, helm_values(found))
    if flags.json is not None:
        write_file(flags.json, json.dumps(as_data(found), indent=1))
    return 0 if found.answer is not None else 1


def _question(flags: argparse.Namespace) -> Question:
    if flags.costs is not None and (flags.model or flags.engine):
        raise InvalidSettings("--costs", str(flags.costs), "was measured already: --model and --engine go without it")
    traffic, slo = traffic_of(flags.workload), Slo(flags.ttft, flags.tpot)
    if flags.costs is None:
        if not flags.model:
            raise InvalidSettings("--model", "", "is needed, unless --costs gives what was measured")
        return Question(cost_spec(flags.model, flags.gpu, flags.engine), flags.gpus, traffic, slo, flags.goal)
    cost = profiled_cost(flags.costs, flags.gpu)
    return Question(cost, flags.gpus, traffic, slo, flags.goal, step_overhead_s=0.0)  # measured as part of the steps


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock plan", description=__doc__)
    add = parser.add_argument
    add("--model", default="", help="a Hugging Face folder or config.json, or a name that is known")
    add("--gpu", required=True, help="H200, H100 or A100")
    add("--gpus", required=True, type=int, metavar="N", help="how many there are")
    add("--workload", required=True, help="IN:OUT tokens, a YAML file, a trace, or a CSV of lengths")
    add("--ttft", required=True, type=float, metavar="S", help="objective for the first token, in seconds")
    add("--tpot", required=True, type=float, metavar="S", help="objective for the mean of further tokens, in seconds")
    add("--goal", type=float, default=0.9, metavar="SHARE", help="of requests that must hold both; default 0.9")
    add("--engine", default="", help="whose fitted costs, where several engines were fitted")
    add("--costs", type=Path, metavar="FILE", help="of `penstock profile`, instead of --model: workers of one GPU each")
    add("--cost", type=float, metavar="PRICE", help="of a GPU-hour: show the price of tokens, too")
    add("--jobs", type=int, default=0, metavar="N", help="simulations at once; default: one for each core")
    add("--ray", default="", metavar="ADDRESS", help="simulate on this Ray cluster instead; `local` starts one")
    add("--helm-values", type=Path, metavar="FILE", help="write the pools there, for the chart")
    add("--json", type=Path, metavar="FILE", help="write everything there, for programs")
    return parser


def _show(found: Plan, price_per_gpu_hour: float | None) -> None:
    console = Console()
    if found.answer is not None:
        console.print(table(found, price_per_gpu_hour))
        console.print()
    for sentence in sentences(found):
        console.print(sentence, highlight=False)
    goal = f"{found.question.goal:.0%} of requests hold both objectives"
    console.print(f"({goal}; {found.num_simulations} simulations)", highlight=False)


@contextmanager
def _evaluation(ray_address: str, num_jobs: int) -> Iterator[Evaluate]:
    """Where trials run: on Ray, in processes of their own, or here."""
    if ray_address:
        with trials_on_ray(ray_address, num_jobs) as evaluate:
            yield evaluate
    elif num_jobs > 1:
        with ProcessPoolExecutor(num_jobs) as pool:
            yield lambda trials: pool.map(run_trial, trials)
    else:
        yield run_here
