"""The planner's answer, with its reasons: what bounds it, what came second, and what longer prompts would do to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.core.timeline import Stage, Summary
from penstock.simulator.cluster import Cluster
from penstock.simulator.placement.candidates import Candidate, Pruned, candidates, splits
from penstock.simulator.placement.layout import Layout
from penstock.simulator.placement.parallel_costs import ParallelCosts
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.search import Finding, OnTrials, Search
from penstock.simulator.placement.trials import Evaluate
from penstock.simulator.placement.worker_rates import worker_rates
from penstock.simulator.report import Report, report

_CLEARLY = 1.05  # so much better must a disaggregated layout be: it is the more complex one
_BEYOND = 1.1  # times the goodput: where the first objective breaks
_LONGER = 2.0
_MIN_REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Bound:
    """The layout a little beyond its goodput: which objective breaks first, and where the time goes."""

    ttft_share: float  # P90 of TTFT as a share of its objective
    tpot_share: float
    first_token_s: dict[str, float]  # mean seconds of each stage before the first token
    busy_shares: dict[str, float]  # of each role's workers

    @property
    def objective(self) -> str:
        return "TTFT" if self.ttft_share >= self.tpot_share else "TPOT"


@dataclass(frozen=True, slots=True)
class LongerPrompts:
    """With prompts twice as long: what the answer would still serve, and which layout would serve most."""

    factor: float
    rate: float
    best: Finding | None


@dataclass(frozen=True, slots=True)
class Plan:
    """`answer` is None when nothing holds the objectives; otherwise it is one of the two families' best."""

    question: Question
    answer: Finding | None
    colocated: Finding | None
    disaggregated: Finding | None
    pruned: Pruned
    bound: Bound | None
    longer: LongerPrompts | None
    num_simulations: int

    @property
    def runner_up(self) -> Finding | None:
        """The best of the other family."""
        if self.answer is None:
            return None
        return self.colocated if self.answer.layout.is_disaggregated else self.disaggregated


def make_plan(question: Question, evaluate: Evaluate, on_trials: OnTrials) -> Plan:
    """Search, then explain."""
    search = Search(question, evaluate, on_trials)
    field = candidates(question)
    colocated, disaggregated = search.best_of_each(field)
    answer = _preferred(colocated, disaggregated)
    if answer is None:
        return Plan(question, None, None, None, field.pruned, None, None, search.num_simulations)
    if answer.layout.is_disaggregated:
        answer = disaggregated = search.with_all_workers(answer, _splits(question, answer.layout))
    bound = _bound(question, answer)
    longer = _longer_prompts(search, answer)
    return Plan(question, answer, colocated, disaggregated, field.pruned, bound, longer, search.num_simulations + 1)


def _preferred(colocated: Finding | None, disaggregated: Finding | None) -> Finding | None:
    if colocated is None or disaggregated is None:
        return colocated or disaggregated
    return disaggregated if disaggregated.rate > _CLEARLY * colocated.rate else colocated


def _splits(question: Question, layout: Layout) -> Sequence[Candidate]:
    costs = ParallelCosts(question.cost)
    prefill, decode = (
        worker_rates(costs.at(pool.parallelism), question.traffic, question.slo, question.step_overhead_s)
        for pool in layout.pools
    )
    return splits(layout, question.num_gpus, prefill, decode)


def _bound(question: Question, answer: Finding) -> Bound:
    unit = answer.layout.unit()
    rate = _BEYOND * answer.rate / answer.layout.num_copies
    cluster = Cluster(question.scenario(unit))
    cluster.run(question.traffic.at(rate, max(_MIN_REQUESTS, round(rate * question.horizon_s))))
    shown = report(cluster)
    before = (Stage.QUEUE, Stage.PREFILL)
    return Bound(
        ttft_share=_p90(shown, "ttft_s") / question.slo.ttft_s,
        tpot_share=_p90(shown, "tpot_s") / question.slo.tpot_s,
        first_token_s={stage.value: _mean(shown.stages[stage.value]) for stage in before},
        busy_shares={role: pool.busy_share for role, pool in shown.pools.items()},
    )


def _p90(shown: Report, name: str) -> float:
    summary = shown.latencies[name]
    return summary.p90 if summary else 0.0


def _mean(summary: Summary | None) -> float:
    return summary.mean if summary else 0.0


def _longer_prompts(search: Search, answer: Finding) -> LongerPrompts:
    """The answer, and the most promising layout of each family for the longer prompts, by their units."""
    question = replace(search.question, traffic=search.question.traffic.with_prompts(_LONGER))
    field = candidates(question)
    others = [family[0] for family in (field.colocated, field.disaggregated) if family]
    layouts = [answer.layout, *(other.layout for other in others if other.layout != answer.layout)]
    guesses = [answer.rate / _LONGER, *(other.guess for other in others if other.layout != answer.layout)]
    trials = [
        search.trial(layout.unit(), question.traffic, guess / layout.num_copies)
        for layout, guess in zip(layouts, guesses, strict=True)
    ]
    found = [
        Finding(layout, rate * layout.num_copies) for layout, rate in zip(layouts, search.rates(trials), strict=True)
    ]
    best = max(found, key=lambda finding: finding.rate)
    return LongerPrompts(_LONGER, found[0].rate, best if best.rate else None)
