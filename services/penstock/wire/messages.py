"""What crosses process boundaries, as frozen types; `codec` turns them into protobuf and back.

One message of a long-lived stream carries everything its sender had to say since the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock.core.errors import PenstockError
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.core.pools import RolesView
from penstock.core.types import (
    FinishReason,
    GatewayLoad,
    Request,
    RouteQuery,
    RoutingDecision,
    SampledToken,
    TokenLogprobs,
    WorkerRef,
    WorkerState,
)


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens a stream: who calls, and which life of the callee is meant (0: any)."""

    caller_id: str
    caller_incarnation: int
    callee_incarnation: int


@dataclass(frozen=True, slots=True)
class StageSpan:
    """A stage of a request, in seconds before the message was sent."""

    stage: str
    began_ago_s: float
    ended_ago_s: float


# --- gateway <-> prefill ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrefillStart:
    """Offer of one request; a decode candidate equal to the worker itself means: decode in place."""

    request: Request
    decode_candidates: Sequence[WorkerRef]


@dataclass(frozen=True, slots=True)
class PrefillCalls:
    hello: Hello | None = None
    starts: Sequence[PrefillStart] = ()
    cancelled_handles: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PrefillEnded:
    """A refusal, or a failure after acceptance."""

    handle: int
    error: PenstockError


@dataclass(frozen=True, slots=True)
class FirstToken:
    handle: int
    token: SampledToken
    num_cached_tokens: int = 0
    finish_reason: FinishReason | None = None  # set when the first token is also the last
    spans: Sequence[StageSpan] = ()


@dataclass(frozen=True, slots=True)
class HandedOff:
    handle: int
    decode: WorkerRef
    spans: Sequence[StageSpan] = ()


@dataclass(frozen=True, slots=True)
class WantedImages:
    """Images of a request accepted in the same message whose embeddings the worker lacks."""

    handle: int
    indices: Sequence[int]


@dataclass(frozen=True, slots=True)
class PrefillEvents:
    accepted_handles: Sequence[int] = ()
    refused: Sequence[PrefillEnded] = ()
    first_tokens: Sequence[FirstToken] = ()
    handed_off: Sequence[HandedOff] = ()
    failed: Sequence[PrefillEnded] = ()
    has_capacity: bool = False
    wanted_images: Sequence[WantedImages] = ()


# --- gateway <-> decode ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecodeCalls:
    hello: Hello | None = None
    cancelled_handles: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """End of a request on a worker: a reason, or an error after which the gateway resumes elsewhere."""

    handle: int
    reason: FinishReason | None = None
    error: PenstockError | None = None
    spans: Sequence[StageSpan] = ()


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """Tokens of one engine step for one gateway, as parallel columns."""

    step: int
    handles: Sequence[int] = ()
    token_ids: Sequence[int] = ()
    positions: Sequence[int] = ()  # index among the request's output tokens over all attempts
    finished: Sequence[Finished] = ()
    logprobs: Sequence[tuple[int, TokenLogprobs]] = ()  # (handle, of its new token)


# --- prefill <-> decode ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserve:
    reservation_id: int  # the sender's, unique within its life
    request_id: str
    attempt: int
    gateway_id: str
    handle: int
    num_tokens: int
    max_new_tokens: int
    block_hashes: Sequence[bytes] = ()
    image_index: int = 0  # of the image whose embeddings are to be sent, on a link that is for those


@dataclass(frozen=True, slots=True)
class Commit:
    """`request.output_token_ids` ends with the first token of this attempt."""

    reservation_id: int
    request: Request


@dataclass(frozen=True, slots=True)
class LinkCalls:
    hello: Hello | None = None
    reserves: Sequence[Reserve] = ()
    commits: Sequence[Commit] = ()
    released: Sequence[int] = ()
    renewed: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LinkWelcome:
    worker: WorkerRef
    layouts: Sequence[KvLayout]  # one per tensor-parallel rank
    endpoints: Sequence[TransferEndpoint]
    revision: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """Destination blocks for the tokens from `num_cached_tokens` on, which is a multiple of the block size."""

    reservation_id: int
    block_ids: Sequence[int]
    num_cached_tokens: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class ReservationEnded:
    reservation_id: int
    error: PenstockError


@dataclass(frozen=True, slots=True)
class LinkEvents:
    welcome: LinkWelcome | None = None
    reserved: Sequence[Reserved] = ()
    refused: Sequence[ReservationEnded] = ()
    started: Sequence[int] = ()
    revoked: Sequence[int] = ()
    has_capacity: bool = False


# --- control plane ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    state: WorkerState


@dataclass(frozen=True, slots=True)
class RegisterResponse:
    router_address: str
    heartbeat_interval_s: float


@dataclass(frozen=True, slots=True)
class JoinRequest:
    gateway_id: str


@dataclass(frozen=True, slots=True)
class JoinResponse:
    router_addresses: Sequence[tuple[str, str]]  # (group, host:port)
    metrics_addresses: Sequence[str] = ()  # host:port of /metrics of the whole control plane


@dataclass(frozen=True, slots=True)
class HeartbeatRequest:
    state: WorkerState
    stored_hashes: Sequence[bytes] = ()
    evicted_hashes: Sequence[bytes] = ()
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class HeartbeatResponse:
    is_known: bool


@dataclass(frozen=True, slots=True)
class RouteCalls:
    hello: Hello | None = None
    queries: Sequence[RouteQuery] = ()
    load: GatewayLoad | None = None


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """A decision, or why there is none."""

    request_id: str
    decision: RoutingDecision | None = None
    error: PenstockError | None = None


@dataclass(frozen=True, slots=True)
class MembershipView:
    """Members of a group; who receives it notes the address of the router it came from."""

    group: str
    workers: Sequence[WorkerState]
    router_address: str = ""
    roles: RolesView = field(default_factory=RolesView)
    metrics_addresses: Sequence[str] = ()  # of the control plane, as the scheduler told whoever receives it


@dataclass(frozen=True, slots=True)
class RouteEvents:
    answers: Sequence[RouteAnswer] = ()
    membership: MembershipView | None = None
