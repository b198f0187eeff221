"""Questions to the planner, and trials that answer by a formula instead of a simulation."""

from collections.abc import Callable, Iterable, Sequence

from penstock.core.timeline import Slo
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.goodput import Goodput
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.placement.trials import Evaluate, Trial
from penstock.simulator.workload import RequestSpec


def traffic(prompt: int = 1000, output: int = 200, num_requests: int = 20) -> Traffic:
    """One request a second."""
    return Traffic(tuple(RequestSpec(float(number), prompt, output) for number in range(1, num_requests + 1)))


def question(num_gpus: int = 16, slo: Slo | None = None, prompt: int = 1000, output: int = 200) -> Question:
    spec = CostSpec(gpu="H200", model="Llama-3-8B")
    return Question(spec, num_gpus, traffic(prompt, output), slo or Slo(0.4, 0.02))


def answering(rate_of: Callable[[Trial], float], seen: list[Trial] | None = None) -> Evaluate:
    """Each cluster has the goodput `rate_of`; `seen` collects what was asked."""

    def evaluate(trials: Sequence[Trial]) -> Iterable[Goodput]:
        if seen is not None:
            seen.extend(trials)
        for trial in trials:
            rate = rate_of(trial)
            yield Goodput(rate if rate >= trial.floor_rate else 0.0, 1)

    return evaluate
