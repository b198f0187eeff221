"""Whether the running prefill yields to a waiting one at its next layer boundary.

Asked at events only: a prompt arrived, or a prefill completed (FlowPrefill, arXiv 2602.16603). The running batch keeps
its tensors and is resumed at the same layer, so a yield costs memory, not work.

    running --arrival, should_yield--> paused (at the next layer boundary) --completion, first in order--> running

Preempting for S-EDF priority alone can livelock: a public re-implementation counts 21,360 wasted steps. Its guards,
which are not in the paper, are kept here: never for the doomed, never against a more urgent member, at most
`max_preemptions` times, not before `min_progress` nor after `max_progress`, at most `max_paused` at once.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence
from penstock.core.urgency import batch_priority, batch_s, remaining_s, slack_priority, slack_s


@dataclass(frozen=True, slots=True)
class RunningPrefill:
    """The batch on the device. `progress` is the share of its layers that are done, 0 to 1."""

    members: SequenceOf[Sequence]
    progress: float = 0.0
    num_preemptions: int = 0


@dataclass(frozen=True, slots=True)
class PreemptionGuards:
    """`margin_per_s` is by how much the newcomer's priority (1/s) must exceed. Paused prefills hold activations.

    `is_lazy`: no yield for a newcomer that would meet its deadline after the running batch as well.
    """

    margin_per_s: float = 0.0
    min_progress: float = 0.0
    max_progress: float = 0.9
    max_preemptions: int = 1
    max_paused: int = 4
    is_lazy: bool = False


def should_yield(
    running: RunningPrefill,
    head: Sequence,
    num_paused: int,
    cost: StepCost,
    now_s: float,
    guards: PreemptionGuards,
) -> bool:
    """Whether `head`, the first of the waiting and paused ones, takes the device from `running`."""
    if num_paused >= guards.max_paused or running.num_preemptions >= guards.max_preemptions:
        return False
    if not guards.min_progress <= running.progress < guards.max_progress:
        return False
    head_s = remaining_s(head, cost)
    head_deadline_s = head.request.first_token_deadline_s
    head_slack_s = slack_s(head_deadline_s, head_s, now_s)
    if head_slack_s < 0:
        return False
    running_s = (1.0 - running.progress) * batch_s(running.members, cost)
    if guards.is_lazy and head_slack_s >= running_s:
        return False
    running_priority = batch_priority(running.members, running_s, now_s)
    return slack_priority(head_deadline_s, head_s, now_s) > running_priority + guards.margin_per_s
