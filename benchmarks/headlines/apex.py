"""APEX (arXiv 2411.17651): plans found by search against the usual heuristic, and how long the search takes.

The heuristic is tensor parallelism as wide as the node. APEX searches data, pipeline and tensor parallelism of workers
that do both stages: the co-located family of `penstock plan`. `combined` is the whole plan, disaggregation included.
"""

import time
from dataclasses import replace

from benchmarks.headlines.experiments import load
from benchmarks.headlines.row import Effort, Row
from penstock.simulator.placement.candidates import Candidate, candidates
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.search import Finding, Search
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.placement.trials import run_here
from penstock_loadgen.workload import generate

PAPER = "APEX"
_NUM_GPUS = 8
_PUBLISHED_SEARCH_S = 15 * 60.0


def rows(effort: Effort) -> list[Row]:
    """Plan quality on each of its traces at hand, and the longest search."""
    traces = ("creation", "lmsys") if effort.is_full else ("lmsys",)
    quality, seconds = zip(*(_quality_row(effort, trace) for trace in traces), strict=True)
    return [*quality, _search_row(max(seconds))]


def _quality_row(effort: Effort, trace: str) -> tuple[Row, float]:
    path = effort.trace(f"apex_{trace}_05_llama_lengths.csv")
    point = load("apex", f"70b_{trace}", [f"workload.trace.path={path}"])
    traffic = Traffic(tuple(generate(replace(point.workload, num_requests=effort.num_requests(1000, 200)))))
    question = Question(point.scenario.pools[0].cost, _NUM_GPUS, traffic, point.scenario.slo)
    field = candidates(question)
    began_s = time.process_time()
    search = Search(question, run_here)
    colocated, disaggregated = search.best_of_each(field)
    search_s = time.process_time() - began_s
    heuristic = _widest(field.colocated)
    trial = search.trial(heuristic.layout.unit(), traffic, heuristic.guess)
    baseline = search.rates([trial])[0] * heuristic.layout.num_copies
    best = max((found for found in (colocated, disaggregated) if found), key=lambda found: found.rate, default=None)
    row = Row(
        PAPER,
        "plans up to 3.37x faster than heuristics",
        f"Llama-3-70B, 8 H100, lengths of its {trace} trace; 2/0.05 s for 90 %",
        baseline,
        colocated.rate if colocated else None,
        best.rate if best else None,
        "requests/s",
        note=f"heuristic: {heuristic.layout}; search: {_name(colocated)}; with disaggregation: {_name(best)}. "
        "Its 3.37x is of whole-trace time on other models.",
    )
    return row, search_s


def _widest(colocated: tuple[Candidate, ...]) -> Candidate:
    """Tensor parallelism over the whole node, with the step budget of the better guess."""
    return max(colocated, key=lambda candidate: (candidate.layout.pools[0].parallelism.tensor, candidate.guess))


def _name(found: Finding | None) -> str:
    return str(found.layout) if found else "nothing"


def _search_row(search_s: float) -> Row:
    return Row(
        PAPER,
        "optimal plan within 15 minutes on a CPU",
        "the longest of the searches above; seconds of one core",
        _PUBLISHED_SEARCH_S,
        search_s,
        search_s,
        "s",
        higher_is_better=False,
        note="Other models and another search space: an order of magnitude, no more.",
    )
