"""How urgent a first token is: slack, and the S-EDF priority made of it.

Slack-aware earliest deadline first, from FlowPrefill (arXiv 2602.16603):

    slack    = deadline - now - predicted remaining prefill           [s]
    priority = sign(slack) / |deadline - now|                         [1/s], larger is more urgent

Whoever can still meet its deadline comes first, the nearest deadline before all. Whoever cannot is negative and comes
last, so that under overload the doomed do not make the others late too. Without a deadline the priority is 0: between
the two.
"""

from collections.abc import Iterable
from math import copysign

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence

_SOON_S = 1e-9  # a deadline that is now counts as this far away


def remaining_s(sequence: Sequence, cost: StepCost) -> float:
    """Predicted time to run what is left of a prompt alone."""
    return cost.prefill_s(sequence.num_tokens_to_run, sequence.num_computed_tokens)


def slack_s(deadline_s: float, remaining_s: float, now_s: float) -> float:
    """How long the work can still wait and be done by its deadline; negative when it is too late."""
    return deadline_s - now_s - remaining_s


def slack_priority(deadline_s: float, remaining_s: float, now_s: float) -> float:
    """The S-EDF priority of work that takes `remaining_s`, larger first."""
    sign = copysign(1.0, slack_s(deadline_s, remaining_s, now_s))
    return sign / max(abs(deadline_s - now_s), _SOON_S)


def batch_priority(sequences: Iterable[Sequence], remaining_s: float, now_s: float) -> float:
    """Of prompts that run together and take `remaining_s`: as urgent as the most urgent that will be in time."""
    deadlines_s = [sequence.request.first_token_deadline_s for sequence in sequences]
    return max(slack_priority(deadline_s, remaining_s, now_s) for deadline_s in deadlines_s)


def batch_s(sequences: Iterable[Sequence], cost: StepCost) -> float:
    """Predicted time to run what is left of these prompts in one step."""
    return cost.step_s((sequence.num_computed_tokens, sequence.num_tokens_to_run) for sequence in sequences)
