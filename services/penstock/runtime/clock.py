"""Time: the only module that reads a clock, so that everything that decides can be given another one."""

import time


def now_s() -> float:
    """Seconds of the monotonic clock; only differences within this process mean anything."""
    return time.monotonic()


def wall_s() -> float:
    """Seconds since 1970, for what people read: logs, the `created` field of answers, process starts."""
    return time.time()
