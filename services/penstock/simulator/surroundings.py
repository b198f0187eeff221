"""What every simulated worker shares: time, the network, and whom it can reach."""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.types import WorkerRef
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.events import EventQueue
from penstock.simulator.transfers import Network


@dataclass(frozen=True, slots=True)
class HandoffLimits:
    """As `prefill.handoff.HandoffLimits`: how long a finished prefill keeps looking for a decode worker."""

    patience_s: float = 5.0
    retry_interval_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`find_decode` gives the decode side of a worker's present life, or None when that life is over."""

    events: EventQueue
    network: Network
    find_decode: Callable[[WorkerRef], DecodeSide | None]
    rpc_s: float = 0.0005  # one way, any two processes
    handoff_limits: HandoffLimits = HandoffLimits()
