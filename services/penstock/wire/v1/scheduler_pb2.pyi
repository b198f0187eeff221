from penstock.wire.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerReport(_message.Message):
    __slots__ = ("worker", "role", "group", "model", "revision", "metrics_address", "block_size_tokens", "num_blocks", "num_free_blocks", "num_waiting", "num_running", "max_num_sequences", "num_prefill_tokens", "num_context_tokens", "prefill_base_s", "prefill_s_per_token", "token_interval_s", "is_draining", "transports", "version", "heartbeat_ago_s", "num_decoding", "encodes_images")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    METRICS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NUM_FREE_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NUM_WAITING_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MAX_NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    NUM_PREFILL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_BASE_S_FIELD_NUMBER: _ClassVar[int]
    PREFILL_S_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_AGO_S_FIELD_NUMBER: _ClassVar[int]
    NUM_DECODING_FIELD_NUMBER: _ClassVar[int]
    ENCODES_IMAGES_FIELD_NUMBER: _ClassVar[int]
    worker: _common_pb2.WorkerRef
    role: str
    group: str
    model: str
    revision: str
    metrics_address: str
    block_size_tokens: int
    num_blocks: int
    num_free_blocks: int
    num_waiting: int
    num_running: int
    max_num_sequences: int
    num_prefill_tokens: int
    num_context_tokens: int
    prefill_base_s: float
    prefill_s_per_token: float
    token_interval_s: float
    is_draining: bool
    transports: _containers.RepeatedCompositeFieldContainer[PeerTransport]
    version: str
    heartbeat_ago_s: float
    num_decoding: int
    encodes_images: bool
    def __init__(self, worker: _Optional[_Union[_common_pb2.WorkerRef, _Mapping]] = ..., role: _Optional[str] = ..., group: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., metrics_address: _Optional[str] = ..., block_size_tokens: _Optional[int] = ..., num_blocks: _Optional[int] = ..., num_free_blocks: _Optional[int] = ..., num_waiting: _Optional[int] = ..., num_running: _Optional[int] = ..., max_num_sequences: _Optional[int] = ..., num_prefill_tokens: _Optional[int] = ..., num_context_tokens: _Optional[int] = ..., prefill_base_s: _Optional[float] = ..., prefill_s_per_token: _Optional[float] = ..., token_interval_s: _Optional[float] = ..., is_draining: _Optional[bool] = ..., transports: _Optional[_Iterable[_Union[PeerTransport, _Mapping]]] = ..., version: _Optional[str] = ..., heartbeat_ago_s: _Optional[float] = ..., num_decoding: _Optional[int] = ..., encodes_images: _Optional[bool] = ...) -> None: ...

class PeerTransport(_message.Message):
    __slots__ = ("worker_id", "transport")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    transport: str
    def __init__(self, worker_id: _Optional[str] = ..., transport: _Optional[str] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: WorkerReport
    def __init__(self, report: _Optional[_Union[WorkerReport, _Mapping]] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("router_address", "heartbeat_interval_s")
    ROUTER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    router_address: str
    heartbeat_interval_s: float
    def __init__(self, router_address: _Optional[str] = ..., heartbeat_interval_s: _Optional[float] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("gateway_id",)
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    def __init__(self, gateway_id: _Optional[str] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("groups", "metrics_addresses")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    METRICS_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    metrics_addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., metrics_addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("name", "router_address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROUTER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    router_address: str
    def __init__(self, name: _Optional[str] = ..., router_address: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("report", "stored_hashes", "evicted_hashes", "is_full")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    STORED_HASHES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_HASHES_FIELD_NUMBER: _ClassVar[int]
    IS_FULL_FIELD_NUMBER: _ClassVar[int]
    report: WorkerReport
    stored_hashes: bytes
    evicted_hashes: bytes
    is_full: bool
    def __init__(self, report: _Optional[_Union[WorkerReport, _Mapping]] = ..., stored_hashes: _Optional[bytes] = ..., evicted_hashes: _Optional[bytes] = ..., is_full: _Optional[bool] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("is_known",)
    IS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    is_known: bool
    def __init__(self, is_known: _Optional[bool] = ...) -> None: ...

class RouteCalls(_message.Message):
    __slots__ = ("hello", "queries", "load")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    hello: _common_pb2.Hello
    queries: _containers.RepeatedCompositeFieldContainer[RouteQuery]
    load: GatewayLoad
    def __init__(self, hello: _Optional[_Union[_common_pb2.Hello, _Mapping]] = ..., queries: _Optional[_Iterable[_Union[RouteQuery, _Mapping]]] = ..., load: _Optional[_Union[GatewayLoad, _Mapping]] = ...) -> None: ...

class GatewayLoad(_message.Message):
    __slots__ = ("num_waiting", "num_arrived", "num_prompt_tokens", "num_finished", "num_output_tokens", "ttft_sum_s", "e2e_sum_s")
    NUM_WAITING_FIELD_NUMBER: _ClassVar[int]
    NUM_ARRIVED_FIELD_NUMBER: _ClassVar[int]
    NUM_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_FINISHED_FIELD_NUMBER: _ClassVar[int]
    NUM_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TTFT_SUM_S_FIELD_NUMBER: _ClassVar[int]
    E2E_SUM_S_FIELD_NUMBER: _ClassVar[int]
    num_waiting: int
    num_arrived: int
    num_prompt_tokens: int
    num_finished: int
    num_output_tokens: int
    ttft_sum_s: float
    e2e_sum_s: float
    def __init__(self, num_waiting: _Optional[int] = ..., num_arrived: _Optional[int] = ..., num_prompt_tokens: _Optional[int] = ..., num_finished: _Optional[int] = ..., num_output_tokens: _Optional[int] = ..., ttft_sum_s: _Optional[float] = ..., e2e_sum_s: _Optional[float] = ...) -> None: ...

class RouteQuery(_message.Message):
    __slots__ = ("request_id", "num_tokens", "max_tokens", "block_hashes", "excluded_worker_ids", "traceparent", "image_patches")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASHES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PATCHES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    num_tokens: int
    max_tokens: int
    block_hashes: bytes
    excluded_worker_ids: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    image_patches: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request_id: _Optional[str] = ..., num_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ..., block_hashes: _Optional[bytes] = ..., excluded_worker_ids: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ..., image_patches: _Optional[_Iterable[int]] = ...) -> None: ...

class RouteEvents(_message.Message):
    __slots__ = ("answers", "membership")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[RouteAnswer]
    membership: MembershipView
    def __init__(self, answers: _Optional[_Iterable[_Union[RouteAnswer, _Mapping]]] = ..., membership: _Optional[_Union[MembershipView, _Mapping]] = ...) -> None: ...

class RouteAnswer(_message.Message):
    __slots__ = ("request_id", "prefill", "decode", "disaggregate", "failure", "encoders")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    DISAGGREGATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    prefill: _containers.RepeatedCompositeFieldContainer[Candidate]
    decode: _containers.RepeatedCompositeFieldContainer[Candidate]
    disaggregate: bool
    failure: _common_pb2.Failure
    encoders: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, request_id: _Optional[str] = ..., prefill: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., decode: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., disaggregate: _Optional[bool] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., encoders: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("worker", "predicted_s", "num_cached_tokens")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_S_FIELD_NUMBER: _ClassVar[int]
    NUM_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    worker: _common_pb2.WorkerRef
    predicted_s: float
    num_cached_tokens: int
    def __init__(self, worker: _Optional[_Union[_common_pb2.WorkerRef, _Mapping]] = ..., predicted_s: _Optional[float] = ..., num_cached_tokens: _Optional[int] = ...) -> None: ...

class MembershipView(_message.Message):
    __slots__ = ("group", "workers", "steering", "role_changes")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    STEERING_FIELD_NUMBER: _ClassVar[int]
    ROLE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    group: str
    workers: _containers.RepeatedCompositeFieldContainer[WorkerReport]
    steering: str
    role_changes: _containers.RepeatedCompositeFieldContainer[RoleChange]
    def __init__(self, group: _Optional[str] = ..., workers: _Optional[_Iterable[_Union[WorkerReport, _Mapping]]] = ..., steering: _Optional[str] = ..., role_changes: _Optional[_Iterable[_Union[RoleChange, _Mapping]]] = ...) -> None: ...

class RoleChange(_message.Message):
    __slots__ = ("ago_s", "subject", "change", "reason", "outcome")
    AGO_S_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ago_s: float
    subject: str
    change: str
    reason: str
    outcome: str
    def __init__(self, ago_s: _Optional[float] = ..., subject: _Optional[str] = ..., change: _Optional[str] = ..., reason: _Optional[str] = ..., outcome: _Optional[str] = ...) -> None: ...
