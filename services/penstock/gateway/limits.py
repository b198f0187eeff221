"""How long the dispatcher waits for what, and how often it tries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Every deadline is per stage and short; nothing waits minutes over everything."""

    route_timeout_s: float = 0.5  # then the last membership decides
    verdict_timeout_s: float = 1.0  # a worker that neither accepts nor refuses is passed over
    probe_after_s: float = 2.0  # silence of a worker that holds our requests before it is asked whether it lives
    probe_timeout_s: float = 1.0
    silence_timeout_s: float = 5.0  # no message and no answer to a probe: the worker is lost
    stuck_timeout_s: float = 30.0  # the worker answers but a request on it makes no progress (beyond its prediction)
    no_workers_timeout_s: float = 5.0  # for a request that has no token yet; longer than a scheduler restart
    give_up_s: float = 30.0  # a request without a deadline, or already streaming, that makes no progress
    suspect_s: float = 2.0  # how long a lost worker is tried last; a router needs about as long to notice
    tick_s: float = 0.25  # how often silence is looked for, and the waiting queue tries in case news were lost
    min_backoff_s: float = 0.1
    max_backoff_s: float = 1.0
    max_num_waiting: int = 2048
    # A rollout may take several workers in a row from under one request; beyond this the request itself is the
    # likelier cause, and must not be carried on to the next worker.
    max_losses: int = 8


DEFAULT_LIMITS = DispatchLimits()
