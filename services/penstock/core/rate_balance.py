"""How to split workers over the stages of a pipeline so that the slowest stage is as fast as can be."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Stage = TypeVar("Stage", bound=Hashable)


def best_counts(num_workers: int, rates: Mapping[Stage, float]) -> dict[Stage, int]:
    """The split of `num_workers` that serves the most requests per second, with at least one for each stage.

    `rates` are requests/s of one worker. Giving each next worker to the slowest stage maximises the slowest stage.
    Raises ValueError for too few workers.
    """
    if num_workers < len(rates):
        raise ValueError(f"{num_workers} workers cannot fill {len(rates)} stages")
    counts = dict.fromkeys(rates, 1)
    for _ in range(num_workers - len(rates)):
        counts[min(counts, key=lambda stage: counts[stage] * rates[stage])] += 1
    return counts


def served_rate(counts: Mapping[Stage, int], rates: Mapping[Stage, float]) -> float:
    """Requests per second that all stages together serve: min over stages of n_i * q_i."""
    return min(counts[stage] * rates[stage] for stage in rates)
