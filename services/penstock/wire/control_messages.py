"""What is asked of a router, of whoever starts and ends workers, and of a worker besides its requests; frozen types."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.policies.pool_changes import PoolChange
from penstock.core.pools import Steering
from penstock.core.types import Role


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    """How many workers each role shall have, those that drain not counted; other roles stay as they are."""

    targets: Sequence[tuple[Role, int]]
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ScaleResponse:
    changes: Sequence[PoolChange]


@dataclass(frozen=True, slots=True)
class FlipOrderRequest:
    """Flip this worker now; its answer is the worker's own `FlipResponse`."""

    worker_id: str
    role: Role
    is_dry_run: bool = False
    group: str = ""  # to move to; empty: it stays


@dataclass(frozen=True, slots=True)
class SteerRequest:
    steering: Steering


@dataclass(frozen=True, slots=True)
class SteerResponse:
    previous: Steering


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """Of workers of these roles; none named: of all."""

    roles: Sequence[Role] = ()
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RolloutResponse:
    worker_ids: Sequence[str]  # in the order in which they are replaced


@dataclass(frozen=True, slots=True)
class GrowRequest:
    group: str
    role: Role
    num_workers: int


@dataclass(frozen=True, slots=True)
class GrowResponse:
    worker_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShrinkRequest:
    worker_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShrinkResponse:
    pass


@dataclass(frozen=True, slots=True)
class RestartRequest:
    worker_id: str


@dataclass(frozen=True, slots=True)
class RestartResponse:
    pass


# --- to any worker ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrainRequest:
    timeout_s: float


@dataclass(frozen=True, slots=True)
class DrainResponse:
    num_sequences: int


@dataclass(frozen=True, slots=True)
class FlipRequest:
    role: Role
    incarnation: int  # the life of the worker that is meant
    group: str = ""  # to move to, once what it holds has ended; empty: it stays


@dataclass(frozen=True, slots=True)
class FlipResponse:
    """The role it had, and how many sequences of its old role it still finishes."""

    previous_role: Role
    num_sequences: int


@dataclass(frozen=True, slots=True)
class HoldingsRequest:
    pass


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a worker holds right now; zero everywhere but `num_open_files` when idle."""

    num_sequences: int = 0
    num_referenced_blocks: int = 0
    num_reservations: int = 0
    num_request_tasks: int = 0
    num_open_files: int = 0
    num_quarantined_blocks: int = 0
    num_embedding_pages: int = 0
    num_images: int = 0
