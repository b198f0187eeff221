"""The planner's trials as Ray tasks give the answers they give here."""

from penstock.core.timeline import Slo
from penstock.scheduler.planning import trials_on_ray
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.placement.trials import Trial, run_trial
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec

TRAFFIC = Traffic(tuple(RequestSpec(number / 10, 500, 8) for number in range(1, 41)))


def test_trials_on_ray_find_the_same_rates_in_the_same_order() -> None:
    trials = [
        Trial(Scenario(slo=Slo(ttft_s, 0.05), pools=(PoolSpec(),)), TRAFFIC, 4.0, first_rate=10.0, goal=0.9)
        for ttft_s in (0.05, 0.2)
    ]
    with trials_on_ray("local", num_cpus=2) as evaluate:
        found = list(evaluate(trials))
    assert found == [run_trial(trial) for trial in trials]
    assert found[0].rate < found[1].rate
