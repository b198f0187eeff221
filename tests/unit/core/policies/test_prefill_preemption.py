"""When a running prefill yields, and each of the guards."""

from dataclasses import replace

import pytest

from penstock.core.policies.prefill_preemption import PreemptionGuards, RunningPrefill, should_yield
from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence

COST = StepCost(0.0, 0.001, 0.0, 0.0, 0.0, 1.0)  # 1 ms per token
NOW_S = 100.0
GUARDS = PreemptionGuards()


def prompt(num_tokens: int, due_in_s: float) -> Sequence:
    deadline_s = NOW_S + due_in_s
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams(), first_token_deadline_s=deadline_s)
    return Sequence(request, list(range(num_tokens)), 0.0)


FILE = prompt(4000, 6.0)
TEXT = prompt(100, 0.25)


@pytest.mark.parametrize(
    ("case", "members", "progress", "head", "yields"),
    [
        ("a short one with the nearer deadline", [FILE], 0.2, TEXT, True),
        ("a farther deadline waits", [FILE], 0.2, prompt(100, 7.0), False),
        ("the doomed wait", [FILE], 0.2, prompt(100, 0.05), False),
        ("whoever runs in vain yields", [prompt(4000, 0.2)], 0.2, prompt(100, 7.0), True),
        ("nearly done, the same is in time", [prompt(2000, 0.3)], 0.875, prompt(100, 7.0), False),
        ("its most urgent member speaks for a batch", [FILE, prompt(50, 4.2)], 0.2, prompt(100, 5.0), False),
        ("unless that one is late anyway", [FILE, prompt(50, 0.2)], 0.2, prompt(100, 5.0), True),
        ("who has no deadline yields", [prompt(4000, float("inf"))], 0.2, prompt(100, 7.0), True),
        ("and never preempts one that has", [FILE], 0.2, prompt(100, float("inf")), False),
    ],
)
def test_yields_to_the_more_urgent(
    case: str, members: list[Sequence], progress: float, head: Sequence, yields: bool
) -> None:
    assert should_yield(RunningPrefill(members, progress), head, 0, COST, NOW_S, GUARDS) is yields, case


@pytest.mark.parametrize(
    ("guard", "running", "num_paused", "guards"),
    [
        ("once is enough", RunningPrefill([FILE], 0.2, num_preemptions=1), 0, GUARDS),
        ("paused ones hold memory", RunningPrefill([FILE], 0.2), 4, GUARDS),
        ("not at the end", RunningPrefill([FILE], 0.9), 0, GUARDS),
        ("not at the beginning", RunningPrefill([FILE], 0.2), 0, replace(GUARDS, min_progress=0.25)),
        ("not by a little", RunningPrefill([FILE], 0.2), 0, replace(GUARDS, margin_per_s=4.0)),
    ],
)
def test_each_guard_prevents_it(guard: str, running: RunningPrefill, num_paused: int, guards: PreemptionGuards) -> None:
    assert should_yield(RunningPrefill([FILE], 0.2), TEXT, 0, COST, NOW_S, GUARDS)  # without it, it yields
    assert not should_yield(running, TEXT, num_paused, COST, NOW_S, guards), guard


@pytest.mark.parametrize(("due_in_s", "yields"), [(3.2, True), (3.4, False)])
def test_the_lazy_yield_only_when_waiting_would_be_too_late(due_in_s: float, yields: bool) -> None:
    # 4 s of work, 20 % done: 3.2 s are left, and the newcomer needs 0.1 s
    lazy = replace(GUARDS, is_lazy=True)
    assert should_yield(RunningPrefill([FILE], 0.2), prompt(100, due_in_s), 0, COST, NOW_S, lazy) is yields
    assert should_yield(RunningPrefill([FILE], 0.2), prompt(100, due_in_s), 0, COST, NOW_S, GUARDS)


def test_two_prompts_never_preempt_each_other_in_turn() -> None:
    first, second = prompt(1000, 2.0), prompt(1000, 1.5)
    assert should_yield(RunningPrefill([first], 0.1), second, 0, COST, NOW_S, GUARDS)
    assert not should_yield(RunningPrefill([second], 0.1), first, 1, COST, NOW_S, GUARDS)
