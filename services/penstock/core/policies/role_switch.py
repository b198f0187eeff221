"""Which stage gives a worker to which, by the length of their queues: EPD's role switch.

EPD disaggregation (arXiv 2501.05460, `resource_allocation.py` of its code), asked every few seconds:

    to    = argmax over stages of queue
    nobody moves if every stage has queue >= max / 2: all are busy
    from  = of the stages with a shorter queue and more than one worker, the one with the most

Queues must be in one unit; the code counts requests, and shards at the encoders. Seconds of work are better, and any
unit works here. The original reacts to every glance: put `policies.flip_guard` behind it. A flip between encoder and
language roles exchanges weights (under 0.7 s in the paper), one between prefill and decode does not.
"""

from collections.abc import Mapping

from penstock.core.pools import Flip
from penstock.core.types import Role


def propose(queues: Mapping[Role, float], num_workers: Mapping[Role, int]) -> Flip | None:
    """The direction of the switch, its worker left to the caller: the least loaded one of the stage that gives.

    `queues` and `num_workers` have the same roles. Equal queues are no reason to move.
    """
    longest = max(queues.values(), default=0.0)
    if longest <= 0 or all(queue >= longest / 2 for queue in queues.values()):
        return None
    to_role = max(queues, key=lambda role: queues[role])
    givers = [role for role in queues if role is not to_role and queues[role] < longest and num_workers[role] > 1]
    if not givers:
        return None
    return Flip(max(givers, key=lambda role: (num_workers[role], -queues[role])), to_role)
