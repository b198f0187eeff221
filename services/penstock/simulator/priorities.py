"""Priorities that change while requests run: FastSwitch's random pattern (arXiv 2411.18424)."""

from dataclasses import dataclass, replace
from zlib import crc32

from penstock.core.sequences import SequenceBook


@dataclass(frozen=True, slots=True)
class PriorityPattern:
    """Every `interval_steps` steps of a worker all its sequences draw a new priority below `num_levels`; 0: never."""

    interval_steps: int = 0
    num_levels: int = 8
    seed: int = 0

    def shuffle(self, book: SequenceBook, num_steps: int) -> None:
        """Give each sequence the priority it has after so many steps: the same for every policy, in any order."""
        if not self.interval_steps:
            return
        epoch = num_steps // self.interval_steps
        for sequence in book.owners:
            drawn = crc32(f"{self.seed} {epoch} {sequence.request.handle}".encode()) % self.num_levels
            if drawn != sequence.request.priority:
                sequence.request = replace(sequence.request, priority=drawn)
