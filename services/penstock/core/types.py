"""The nouns of Penstock: requests, sequences, batches, workers, routes.

Plain data shared by every process and by the simulator. Durations and deadlines are seconds of the local monotonic
clock; what crosses a process boundary is converted to "seconds left" by `wire.codec`.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.core.images import ImageSpan

NO_LIMIT = 2**62


class Role(StrEnum):
    """What a worker is for. A language worker serves every language role; its role decides what is routed to it."""

    ENCODER = "encoder"
    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


class FinishReason(StrEnum):
    """Why a sequence ended, in the words of the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn. Everything here is honoured by the engine; stop *strings* are the gateway's."""

    temperature: float = 1.0  # 0 means greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 means off
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0  # unsigned 64 bit; fixed by the gateway, so a resumed request draws what it would have drawn
    max_tokens: int = 16  # output tokens over all attempts
    min_tokens: int = 0  # before this many output tokens, neither eos nor a stop token ends the sequence
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    num_logprobs: int | None = None  # None: no logprobs; k >= 0: the sampled token's and the k most likely ones'

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to generate, as a worker sees it. A client's `n=2` is two of these.

    `attempt` grows each time the gateway starts the request anew; messages of older attempts are refused.
    `output_token_ids` are tokens that earlier attempts already delivered: they are context, never sent again.
    """

    request_id: str
    attempt: int
    gateway_id: str
    handle: int  # the gateway's number for this attempt; step outputs name it instead of the request_id
    prompt_token_ids: SequenceOf[int]
    sampling: SamplingParams
    output_token_ids: SequenceOf[int] = ()
    images: SequenceOf[ImageSpan] = ()  # in the prompt, in order
    block_hashes: SequenceOf[bytes] = ()  # hash_blocks(hashed_token_ids(prompt + output, images), salt)
    first_token_deadline_s: float = float("inf")  # local monotonic clock
    priority: int = 0  # larger is more urgent
    tenant: str = ""  # whose service it counts as
    traceparent: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens known before this attempt begins."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities of one sampled token and of the most likely ones at its position."""

    logprob: float
    top_token_ids: tuple[int, ...] = ()
    top_logprobs: tuple[float, ...] = ()


@dataclass(slots=True, eq=False)
class Sequence:
    """A request inside an engine: its tokens, its blocks, how far it is computed.

    tokens:  [ 0 ......... num_computed_tokens | ........ len(token_ids) )
               KV is in `block_ids`              still to be run
    A sequence is decoding when exactly one token is still to be run.
    """

    request: Request
    token_ids: list[int]
    arrived_s: float
    block_ids: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0  # of the computed ones, taken from the prefix cache
    num_hashed_blocks: int = 0  # leading blocks already entered in the prefix cache
    block_hashes: list[bytes] = field(default_factory=list)
    image_block_ids: list[list[int]] = field(default_factory=list)  # in the embedding pool, per image of the request
    absent_images: set[int] = field(default_factory=set)  # those whose embeddings are not in these blocks
    num_ready_tokens: int = NO_LIMIT  # tokens [0, this) may be run: up to the first image that is absent and needed
    is_prefill_only: bool = False  # after its first token it waits, holding its blocks, to be taken over elsewhere
    is_cancelled: bool = False

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Output tokens of all attempts."""
        return len(self.token_ids) - len(self.request.prompt_token_ids)

    @property
    def num_tokens_to_run(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_runnable_tokens(self) -> int:
        """Of those to be run, the ones that can be now."""
        if self.num_ready_tokens == NO_LIMIT:  # nearly always
            return len(self.token_ids) - self.num_computed_tokens
        return min(len(self.token_ids), self.num_ready_tokens) - self.num_computed_tokens

    @property
    def is_runnable(self) -> bool:
        return self.num_ready_tokens > self.num_computed_tokens


@dataclass(frozen=True, slots=True)
class ScheduledSequence:
    """Run the tokens [start, start + num_tokens) of one sequence; sample when they reach its last token."""

    sequence: Sequence
    start: int
    num_tokens: int

    @property
    def end(self) -> int:
        return self.start + self.num_tokens

    @property
    def is_sampled(self) -> bool:
        return self.end == self.sequence.num_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step runs: every scheduled token of every sequence, flattened in this order."""

    step: int
    items: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        return sum(item.num_tokens for item in self.items)

    @property
    def num_decodes(self) -> int:
        return sum(1 for item in self.items if item.num_tokens == 1 and item.is_sampled)


@dataclass(frozen=True, slots=True)
class SampledToken:
    """The token one sequence gained in a step."""

    token_id: int
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class StepOutput:
    """Result of one step: a sampled token, or None, for each item of its batch, in order."""

    step: int
    tokens: tuple[SampledToken | None, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an engine and its router must know of a model besides its weights."""

    name: str
    revision: str  # of weights and KV layout; prefill and decode of different revisions are never paired
    vocab_size: int
    max_context_tokens: int
    eos_token_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class WorkerRef:
    """Which process, and which life of it. A restarted worker keeps its id and draws a new incarnation."""

    worker_id: str
    incarnation: int
    address: str  # host:port of its gRPC server


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a router knows of a worker: its last heartbeat, plus what has been routed to it since."""

    ref: WorkerRef
    role: Role
    group: str = "default"
    model: str = ""
    revision: str = ""  # prefill and decode of different revisions are never paired
    metrics_address: str = ""
    block_size: int = 16  # tokens
    num_blocks: int = 0
    num_free_blocks: int = 0  # free or evictable
    num_waiting: int = 0
    num_running: int = 0
    num_decoding: int = 0  # of those that run: past their prompt
    max_num_sequences: int = 256
    num_prefill_tokens: int = 0  # accepted prompt tokens not yet computed
    num_context_tokens: int = 0  # KV tokens of running sequences
    prefill_base_s: float = 0.0  # measured cost of a prefill step: base + per token
    prefill_s_per_token: float = 0.0
    token_interval_s: float = 0.0  # recent mean time between decode steps
    is_draining: bool = False
    heartbeat_s: float = 0.0  # receiver's clock, when the last heartbeat arrived
    transports: tuple[tuple[str, str], ...] = ()  # (peer worker_id, transport in use)
    version: str = ""
    encodes_images: bool = False  # has a vision tower, whatever its role

    @property
    def takes_prefill(self) -> bool:
        return self.role in (Role.PREFILL, Role.MIXED) and not self.is_draining

    @property
    def takes_decode(self) -> bool:
        return self.role in (Role.DECODE, Role.MIXED) and not self.is_draining


@dataclass(frozen=True, slots=True)
class GatewayLoad:
    """What only a gateway knows of the load. Counts and sums grow from its start on."""

    num_waiting: int = 0  # refused by every worker, waiting for capacity
    num_arrived: int = 0
    num_prompt_tokens: int = 0  # of those that arrived
    num_finished: int = 0  # answered to their end
    num_output_tokens: int = 0  # of those that finished
    ttft_sum_s: float = 0.0
    e2e_sum_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ranked choice of a route."""

    ref: WorkerRef
    predicted_s: float = 0.0  # predicted TTFT of a prefill, predicted token interval of a decode
    num_cached_tokens: int = 0  # leading tokens the router believes are in its prefix cache


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """What a router needs to know of a request."""

    request_id: str
    num_tokens: int
    max_tokens: int
    block_hashes: SequenceOf[bytes] = ()
    excluded_worker_ids: frozenset[str] = frozenset()  # tried and lost by this request
    traceparent: str = ""
    image_patches: SequenceOf[int] = ()  # of each image


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Ranked candidates, best first. When not `disaggregate`, a prefill candidate decodes what it prefilled.

    `encoders` names one worker for each image; nobody where the group has no encoder workers.
    """

    prefill: tuple[Candidate, ...]
    decode: tuple[Candidate, ...]
    disaggregate: bool = True
    encoders: tuple[Candidate, ...] = ()
