"""Descendants that outlived the child that started them (Ray has helpers of its own): found and ended.

`lifecycle.adopt_orphans` makes them children of `penstock up` when their parent dies.
"""

from collections.abc import Collection

import psutil


def end_orphans(kept_pids: Collection[int], timeout_s: float = 3.0) -> list[str]:
    """Kill every child of this process that is not kept, and all below it; return their names. Blocks until gone."""
    orphans = [child for child in psutil.Process().children() if child.pid not in kept_pids]
    doomed = orphans + [descendant for orphan in orphans for descendant in _descendants(orphan)]
    names = [_killed(process) for process in doomed]
    psutil.wait_procs(doomed, timeout=timeout_s)
    return [name for name in names if name]


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _killed(process: psutil.Process) -> str:
    """Its name, or nothing when it had ended already."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        name = process.name()
        process.kill()
    except psutil.NoSuchProcess:
        return ""
    return name
