"""In which order waiting prompts are served.

    fcfs              arrival
    sjf               tokens of the whole prompt, cached or not
    remaining_work    predicted seconds still to run, minus ageing     KVShare's hit-rate order (arXiv 2503.16525)
    slack_edf         sign(slack) / |deadline - now|, larger first     FlowPrefill's S-EDF (arXiv 2602.16603)
    urgency           slack_edf; among equals (no deadline, or missed) the larger priority, then remaining_work

KVShare serves high cache hit rates first because they finish soonest, and so starves what is new. Work left,
L * (1 - hit) in seconds, says the same and orders equal hit rates by length; ageing bounds the wait:

    key = T_prefill(uncached tokens) - ageing * waited      [s]; ageing is seconds of work forgiven per second waited

Whoever arrived at least T_prefill / ageing later can never pass. All orders break ties by arrival.
"""

from collections.abc import Callable, Iterable

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence
from penstock.core.urgency import remaining_s, slack_priority

AGEING = 0.1

Order = Callable[[Iterable[Sequence], StepCost, float], list[Sequence]]


def fcfs(waiting: Iterable[Sequence], cost: StepCost, now_s: float) -> list[Sequence]:
    """First come, first served."""
    return sorted(waiting, key=lambda sequence: sequence.arrived_s)


def sjf(waiting: Iterable[Sequence], cost: StepCost, now_s: float) -> list[Sequence]:
    """Shortest prompt first."""
    return sorted(waiting, key=lambda sequence: (sequence.num_tokens, sequence.arrived_s))


def remaining_work(waiting: Iterable[Sequence], cost: StepCost, now_s: float, ageing: float = AGEING) -> list[Sequence]:
    """Least work left first; what a prefix cache holds is no work."""

    def key(sequence: Sequence) -> tuple[float, float]:
        waited_s = now_s - sequence.arrived_s
        return remaining_s(sequence, cost) - ageing * waited_s, sequence.arrived_s

    return sorted(waiting, key=key)


def slack_edf(waiting: Iterable[Sequence], cost: StepCost, now_s: float) -> list[Sequence]:
    """Nearest deadline first among those that can be met, then those without one, then the missed."""

    def key(sequence: Sequence) -> tuple[float, float]:
        deadline_s = sequence.request.first_token_deadline_s
        return -slack_priority(deadline_s, remaining_s(sequence, cost), now_s), sequence.arrived_s

    return sorted(waiting, key=key)


def urgency(waiting: Iterable[Sequence], cost: StepCost, now_s: float) -> list[Sequence]:
    """S-EDF where it has something to say. A missed deadline says nothing more of when to be served."""

    def key(sequence: Sequence) -> tuple[float, int, float, float]:
        work_s = remaining_s(sequence, cost)
        soonest = slack_priority(sequence.request.first_token_deadline_s, work_s, now_s)
        aged_s = work_s - AGEING * (now_s - sequence.arrived_s)
        return (-soonest if soonest >= 0 else float("inf")), -sequence.request.priority, aged_s, sequence.arrived_s

    return sorted(waiting, key=key)


ORDERS: dict[str, Order] = {
    "fcfs": fcfs,
    "sjf": sjf,
    "remaining_work": remaining_work,
    "slack_edf": slack_edf,
    "urgency": urgency,
}
