"""Which waiting prompts join the most urgent one in its step, without making it late.

FlowPrefill's SLO-aware batching (arXiv 2602.16603; its exact formula is not public, this is the form of the
re-implementations):

    B = {head};  for x in order:  B += x  if  T(B + x) <= min over members of (deadline - now)      [s]

A prompt whose deadline is missed anyway sets no limit; neither does one without a deadline.
"""

from collections.abc import Iterable

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence
from penstock.core.urgency import remaining_s


def choose_batch(ordered: Iterable[Sequence], cost: StepCost, now_s: float, max_sequences: int) -> tuple[Sequence, ...]:
    """The first of `ordered`, and those of the others that may ride with it; what does not fit is passed by.

    Tokens are no limit: prompts may be cut to fill a step.
    """
    members: list[Sequence] = []
    batch_s, time_left_s = cost.prefill_base_s, float("inf")
    for sequence in ordered:
        if len(members) >= max_sequences:
            break
        together_s = batch_s + remaining_s(sequence, cost) - cost.prefill_base_s  # one step, one base
        if members and together_s > time_left_s:
            continue
        members.append(sequence)
        batch_s = together_s
        own_s = sequence.request.first_token_deadline_s - now_s
        if together_s <= own_s:
            time_left_s = min(time_left_s, own_s)
    return tuple(members)
