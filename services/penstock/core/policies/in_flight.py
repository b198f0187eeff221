"""Optimistic accounting: what has been routed to a worker and its heartbeats cannot show yet.

Between two heartbeats a router may place hundreds of requests; were they not added to the state it ranks by, all of
them would go to the worker that looked idlest in the last one.

    routed ............ arrives ....... +grace ............> time
    |  counted by the router           |  counted by the worker's own heartbeats

Prefill work arrives at once, decode work when its prefill starts and reserves. A request that was refused, or never
came, vanishes from the account all the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from penstock.core.types import WorkerState


@dataclass(frozen=True, slots=True)
class RoutedWork:
    """What one routed request will add to one worker's load."""

    arrives_s: float  # router's clock; when the worker is expected to know of it
    num_prefill_tokens: int = 0
    num_context_tokens: int = 0
    num_blocks: int = 0


def with_in_flight(state: WorkerState, routed: Iterable[RoutedWork]) -> WorkerState:
    """`state` plus `routed`: work that its heartbeat does not cover."""
    works = list(routed)
    if not works:
        return state
    return replace(
        state,
        num_waiting=state.num_waiting + len(works),
        num_prefill_tokens=state.num_prefill_tokens + sum(work.num_prefill_tokens for work in works),
        num_context_tokens=state.num_context_tokens + sum(work.num_context_tokens for work in works),
        num_free_blocks=max(0, state.num_free_blocks - sum(work.num_blocks for work in works)),
    )


def uncovered(routed: Sequence[RoutedWork], heartbeat_s: float, grace_s: float) -> list[RoutedWork]:
    """The part of `routed` that a heartbeat received at `heartbeat_s` cannot show yet.

    `grace_s` is what a route takes to reach the worker by way of the gateway, plus the heartbeat's own way.
    """
    return [work for work in routed if heartbeat_s < work.arrives_s + grace_s]
