"""What a worker allows and how it paces its transfers; built by the process that composes the worker."""

from dataclasses import dataclass

from penstock.core.errors import InvalidSettings

SHARED_MEMORY = "shared_memory"
UCX = "ucx"
TCP = "tcp"
TRANSPORTS = (SHARED_MEMORY, UCX, TCP)

Peer = tuple[str, int]
"""A worker and which life of it: (worker_id, incarnation)."""


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """`allowed` names the transports this worker listens on and connects with; TCP must be asked for by name."""

    allowed: tuple[str, ...] = (SHARED_MEMORY, UCX)
    host: str = "127.0.0.1"  # address that control connections and TCP listen on, and that peers are told
    segment_bytes: int = 8 << 20  # upper bound of one segment's payload
    num_credits: int = 4  # segments of one channel on their way at once
    max_resends: int = 3  # of one segment that fails its checksum
    connect_timeout_s: float = 5.0
    has_ucx_error_handling: bool = False  # lets UCX report dead peers: free on RDMA, but rules out its shared memory


def check_policy(policy: TransferPolicy) -> None:
    """Raises InvalidSettings for values that cannot be honoured."""
    for transport in policy.allowed:
        if transport not in TRANSPORTS:
            raise InvalidSettings("transports", transport, f"the transports are {', '.join(TRANSPORTS)}")
    if not 1 << 20 <= policy.segment_bytes <= 16 << 20:
        raise InvalidSettings("segment_bytes", policy.segment_bytes, "a segment has between 1 and 16 MiB")
    if not 1 <= policy.num_credits <= 32:
        raise InvalidSettings("num_credits", policy.num_credits, "a channel has between 1 and 32 credits")
