"""Spreads the planner's trials over a Ray cluster: each is a task, wherever there is a free core."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import ray

from penstock.scheduler.ray_session import ray_session
from penstock.simulator.goodput import Goodput
from penstock.simulator.placement.trials import Evaluate, Trial, run_trial


@contextmanager
def trials_on_ray(address: str, num_cpus: int) -> Iterator[Evaluate]:
    """Run trials on the cluster at `address`, or on one that is started here for as long as this lasts ("local")."""
    with ray_session(address, num_cpus):
        remote = ray.remote(run_trial)

        def evaluate(trials: Sequence[Trial]) -> Iterable[Goodput]:
            results: list[Goodput] = ray.get([remote.remote(trial) for trial in trials])
            return results

        yield evaluate
