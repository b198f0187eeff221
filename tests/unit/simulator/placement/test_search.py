"""Branch and bound finds the best with few trials, and says why it is."""

from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.placement.candidates import Candidate, candidates
from penstock.simulator.placement.layout import Layout, Parallelism, PoolChoice
from penstock.simulator.placement.plan import make_plan
from penstock.simulator.placement.search import Finding, Search
from penstock.simulator.placement.trials import Trial, run_here
from tests.unit.simulator.placement.questions import answering, question


def as_guessed(trial: Trial) -> float:
    """Every cluster serves as its guess says, per unit."""
    return trial.first_rate


def layout(num_of_each: int) -> Layout:
    """Prefill and decode workers of one GPU."""
    spec = CostSpec(gpu="H200", model="Llama-3-8B")
    roles = (Role.PREFILL, Role.DECODE)
    return Layout(tuple(PoolChoice(role, num_of_each, Parallelism(), spec, 2048, 64, 10**6) for role in roles))


def test_the_best_of_each_family_is_found() -> None:
    asked = question()
    field = candidates(asked)
    best = Search(asked, answering(as_guessed)).best_of_each(field)
    for found, family in zip(best, (field.colocated, field.disaggregated), strict=True):
        assert found is not None
        assert found.rate >= max(candidate.guess for candidate in family) * 0.95


def test_what_cannot_beat_the_best_is_not_simulated() -> None:
    asked, seen = question(), list[Trial]()
    field = candidates(asked)
    search = Search(asked, answering(lambda trial: 1000.0, seen))  # the first trial beats every bound
    search.best_of_each(field)
    assert len(seen) < len(field.colocated) + len(field.disaggregated)
    assert search.num_simulations == len(seen)


def test_later_trials_only_ask_for_more_than_the_best_so_far() -> None:
    asked, seen = question(), list[Trial]()
    Search(asked, answering(lambda trial: 0.3 * trial.first_rate, seen)).best_of_each(candidates(asked))
    assert seen[0].floor_rate == 0.0
    assert all(trial.floor_rate > 0 for trial in seen[4:])


def test_idle_gpus_are_used_when_that_serves_more() -> None:
    half, full = layout(num_of_each=1), layout(num_of_each=8)
    splits = [Candidate(half, 1.0, 1.0), Candidate(full, 8.0, 8.0)]
    found = Finding(half, 1.0)
    assert Search(question(), answering(as_guessed)).with_all_workers(found, splits) == Finding(full, 8.0)
    assert Search(question(), answering(lambda trial: 0.0)).with_all_workers(found, splits) == found


def test_a_plan_prefers_the_simpler_layout_unless_the_other_is_clearly_better() -> None:
    def equal(trial: Trial) -> float:
        return sum(pool.count for pool in trial.scenario.pools) * 10.0

    plan = make_plan(question(), answering(equal), lambda what: None)
    assert plan.answer is not None
    assert not plan.answer.layout.is_disaggregated
    assert plan.runner_up is plan.disaggregated


def test_a_question_without_an_answer_has_reasons() -> None:
    plan = make_plan(question(slo=Slo(0.001, 0.02)), run_here, lambda what: None)
    assert plan.answer is None
    assert plan.pruned.num_too_slow_to_prefill > 0


def test_a_rate_per_gpu_counts_the_gpus_that_are_used() -> None:
    of_four = candidates(question(num_gpus=4)).colocated[0].layout
    assert Finding(of_four, 8.0).rate_per_gpu == 8.0 / of_four.num_gpus
