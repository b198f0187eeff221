"""One step of a worker: what goes through which layers of the model.

items    through every layer; a step of prompts alone may stop between two layers and go on later
cohort   through one group of layers, while the items pass them all (Layered Prefill): several steps make a prompt

A step of either kind changes hands as one object: the planner makes it, a runner runs it, the planner enters it.
"""

from dataclasses import dataclass

from penstock.core.types import ScheduledSequence

Items = tuple[ScheduledSequence, ...]


@dataclass(slots=True, eq=False)
class Step:
    """`layers` are those the cohort passes in this step, `layers_share` how much of the model they are, and `is_last`
    whether it is then through.
    """

    items: Items
    cohort: Items = ()
    layers: range = range(0)
    layers_share: float = 1.0
    is_first: bool = True
    is_last: bool = True
    num_pauses: int = 0
    progress: float = 0.0  # share of the layers done when it was paused
    paused_after_s: float = 0.0  # what it has taken until then
    stall_s: float = 0.0  # how long the device stands still before it, for KV to be copied
    state: object = None  # a paused step's, known to the runner alone

    @property
    def entering(self) -> Items:
        """What this step needs blocks for."""
        return self.items + self.cohort if self.is_first else self.items

    @property
    def num_whole_tokens(self) -> int:
        """Tokens through all layers that are as much work."""
        num_cohort_tokens = sum(item.num_tokens for item in self.cohort)
        return sum(item.num_tokens for item in self.items) + round(self.layers_share * num_cohort_tokens)

    @property
    def ending(self) -> Items:
        """What is computed when this step has run."""
        return self.items + self.cohort if self.is_last else self.items
