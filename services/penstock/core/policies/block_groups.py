"""Which blocks a sequence gets, so that its KV is few contiguous runs: few large copies instead of many small ones.

FastSwitch's block groups (arXiv 2411.18424): runs are split when a smaller one is asked for and merged when given back.
The free space of a pool is a sorted tuple of disjoint runs that do not touch; a choice returns the free space after it.

    free   [0 ... 8)      [20 ... 24)     [32 ... 96)
    take 4 after block 8: nothing there -> the smallest run that holds 4 -> [20 ... 24)
    take 80:              no run holds it -> largest first: [32 ... 96), then the rest of [0 ... 8), ...
"""

from bisect import bisect_left
from collections.abc import Iterable

Runs = tuple[range, ...]


def take(free: Runs, num_blocks: int, next_block: int | None = None) -> tuple[Runs, Runs] | None:
    """Runs that hold `num_blocks` blocks, and what is then free; None, when there are not as many.

    First what continues the sequence at `next_block`, its last block plus one; then the smallest run that holds the
    rest, which leaves the large ones whole; if there is none, the largest runs, which are the fewest.
    """
    if num_blocks > sum(len(run) for run in free):
        return None
    taken: list[range] = []
    runs = list(free)
    at = bisect_left(runs, next_block, key=lambda run: run.start) if next_block is not None else len(runs)
    if num_blocks and at < len(runs) and runs[at].start == next_block:
        taken.append(_cut(runs, at, num_blocks))
        num_blocks -= len(taken[-1])
    while num_blocks:
        fitting = [index for index, run in enumerate(runs) if len(run) >= num_blocks]
        if fitting:
            at = min(fitting, key=lambda index: (len(runs[index]), runs[index].start))
        else:
            at = max(range(len(runs)), key=lambda index: (len(runs[index]), -runs[index].start))
        taken.append(_cut(runs, at, num_blocks))
        num_blocks -= len(taken[-1])
    return tuple(taken), tuple(runs)


def give_back(free: Runs, runs: Iterable[range]) -> Runs:
    """The free space once `runs` are part of it, neighbours merged. No block may be given back twice."""
    merged: list[range] = []
    for run in sorted((*free, *runs), key=lambda run: run.start):
        if not run:
            continue
        assert not merged or merged[-1].stop <= run.start, f"block {run.start} is free already"
        if merged and merged[-1].stop == run.start:
            merged[-1] = range(merged[-1].start, run.stop)
        else:
            merged.append(run)
    return tuple(merged)


def groups_of(block_ids: Iterable[int]) -> Runs:
    """The contiguous runs a sequence's blocks make, in the sequence's order: what a transfer or a swap copies."""
    groups: list[range] = []
    for block_id in block_ids:
        if groups and groups[-1].stop == block_id:
            groups[-1] = range(groups[-1].start, block_id + 1)
        else:
            groups.append(range(block_id, block_id + 1))
    return tuple(groups)


def _cut(runs: list[range], at: int, num_blocks: int) -> range:
    """Take up to `num_blocks` from the front of run `at`."""
    run = runs[at]
    if len(run) <= num_blocks:
        del runs[at]
        return run
    runs[at] = range(run.start + num_blocks, run.stop)
    return range(run.start, run.start + num_blocks)
