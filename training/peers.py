"""Processes that train one model together: each has a share of every step, and their gradients are added up.

On a processor that other work keeps busy, two processes of one thread each do more than one process of two threads:
threads wait for each other in every product, processes once a step.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn


class Peers:
    """Process `rank` of `number`. With one, nothing is exchanged."""

    def __init__(self, rank: int = 0, number: int = 1) -> None:
        self.rank = rank
        self.number = number

    @property
    def is_first(self) -> bool:
        """The one that speaks and writes files."""
        return self.rank == 0

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """In place, over all processes."""
        if self.number == 1:
            return
        kept = list(tensors)
        flat = torch.cat([one.flatten() for one in kept])
        distributed.all_reduce(flat)
        for one, summed in zip(kept, flat.split([one.numel() for one in kept]), strict=True):
            one.copy_(summed.view_as(one))

    def first_says(self, value: float) -> float:
        """What the first process has here."""
        if self.number == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(said, 0)
        return float(said)


def run_together(number: int, meeting: Path, work: Callable[[Peers], None]) -> None:
    """Run `work` in so many processes, which find each other through the file `meeting`."""
    if number == 1:
        work(Peers())
        return
    meeting.unlink(missing_ok=True)
    spawn(_join, (number, meeting, work), nprocs=number)


def _join(rank: int, number: int, meeting: Path, work: Callable[[Peers], None]) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=number)
    try:
        work(Peers(rank, number))
    finally:
        distributed.destroy_process_group()
