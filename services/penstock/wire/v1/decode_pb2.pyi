from penstock.wire.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecodeCalls(_message.Message):
    __slots__ = ("hello", "cancelled_handles")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_HANDLES_FIELD_NUMBER: _ClassVar[int]
    hello: _common_pb2.Hello
    cancelled_handles: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, hello: _Optional[_Union[_common_pb2.Hello, _Mapping]] = ..., cancelled_handles: _Optional[_Iterable[int]] = ...) -> None: ...

class StepOutputs(_message.Message):
    __slots__ = ("step", "handles", "token_ids", "positions", "finished", "logprobs")
    STEP_FIELD_NUMBER: _ClassVar[int]
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    step: int
    handles: _containers.RepeatedScalarFieldContainer[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    positions: _containers.RepeatedScalarFieldContainer[int]
    finished: _containers.RepeatedCompositeFieldContainer[Finished]
    logprobs: _containers.RepeatedCompositeFieldContainer[HandleLogprobs]
    def __init__(self, step: _Optional[int] = ..., handles: _Optional[_Iterable[int]] = ..., token_ids: _Optional[_Iterable[int]] = ..., positions: _Optional[_Iterable[int]] = ..., finished: _Optional[_Iterable[_Union[Finished, _Mapping]]] = ..., logprobs: _Optional[_Iterable[_Union[HandleLogprobs, _Mapping]]] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("handle", "reason", "failure", "spans")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    reason: str
    failure: _common_pb2.Failure
    spans: _containers.RepeatedCompositeFieldContainer[_common_pb2.StageSpan]
    def __init__(self, handle: _Optional[int] = ..., reason: _Optional[str] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., spans: _Optional[_Iterable[_Union[_common_pb2.StageSpan, _Mapping]]] = ...) -> None: ...

class HandleLogprobs(_message.Message):
    __slots__ = ("handle", "logprobs")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    logprobs: _common_pb2.TokenLogprobs
    def __init__(self, handle: _Optional[int] = ..., logprobs: _Optional[_Union[_common_pb2.TokenLogprobs, _Mapping]] = ...) -> None: ...

class LinkCalls(_message.Message):
    __slots__ = ("hello", "reserves", "commits", "released", "renewed")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RESERVES_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    hello: _common_pb2.Hello
    reserves: _containers.RepeatedCompositeFieldContainer[Reserve]
    commits: _containers.RepeatedCompositeFieldContainer[Commit]
    released: _containers.RepeatedScalarFieldContainer[int]
    renewed: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, hello: _Optional[_Union[_common_pb2.Hello, _Mapping]] = ..., reserves: _Optional[_Iterable[_Union[Reserve, _Mapping]]] = ..., commits: _Optional[_Iterable[_Union[Commit, _Mapping]]] = ..., released: _Optional[_Iterable[int]] = ..., renewed: _Optional[_Iterable[int]] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("reservation_id", "request_id", "attempt", "gateway_id", "handle", "num_tokens", "max_new_tokens", "block_hashes", "image_index")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASHES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    reservation_id: int
    request_id: str
    attempt: int
    gateway_id: str
    handle: int
    num_tokens: int
    max_new_tokens: int
    block_hashes: bytes
    image_index: int
    def __init__(self, reservation_id: _Optional[int] = ..., request_id: _Optional[str] = ..., attempt: _Optional[int] = ..., gateway_id: _Optional[str] = ..., handle: _Optional[int] = ..., num_tokens: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., block_hashes: _Optional[bytes] = ..., image_index: _Optional[int] = ...) -> None: ...

class Commit(_message.Message):
    __slots__ = ("reservation_id", "request")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    reservation_id: int
    request: _common_pb2.Request
    def __init__(self, reservation_id: _Optional[int] = ..., request: _Optional[_Union[_common_pb2.Request, _Mapping]] = ...) -> None: ...

class LinkEvents(_message.Message):
    __slots__ = ("welcome", "reserved", "refused", "started", "revoked", "has_capacity")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    HAS_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    welcome: LinkWelcome
    reserved: _containers.RepeatedCompositeFieldContainer[Reserved]
    refused: _containers.RepeatedCompositeFieldContainer[ReservationEnded]
    started: _containers.RepeatedScalarFieldContainer[int]
    revoked: _containers.RepeatedScalarFieldContainer[int]
    has_capacity: bool
    def __init__(self, welcome: _Optional[_Union[LinkWelcome, _Mapping]] = ..., reserved: _Optional[_Iterable[_Union[Reserved, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[ReservationEnded, _Mapping]]] = ..., started: _Optional[_Iterable[int]] = ..., revoked: _Optional[_Iterable[int]] = ..., has_capacity: _Optional[bool] = ...) -> None: ...

class LinkWelcome(_message.Message):
    __slots__ = ("worker", "layouts", "endpoints", "revision")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    worker: _common_pb2.WorkerRef
    layouts: _containers.RepeatedCompositeFieldContainer[_common_pb2.KvLayout]
    endpoints: _containers.RepeatedCompositeFieldContainer[_common_pb2.TransferEndpoint]
    revision: str
    def __init__(self, worker: _Optional[_Union[_common_pb2.WorkerRef, _Mapping]] = ..., layouts: _Optional[_Iterable[_Union[_common_pb2.KvLayout, _Mapping]]] = ..., endpoints: _Optional[_Iterable[_Union[_common_pb2.TransferEndpoint, _Mapping]]] = ..., revision: _Optional[str] = ...) -> None: ...

class Reserved(_message.Message):
    __slots__ = ("reservation_id", "block_ids", "num_cached_tokens", "lease_s")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    BLOCK_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    reservation_id: int
    block_ids: _containers.RepeatedScalarFieldContainer[int]
    num_cached_tokens: int
    lease_s: float
    def __init__(self, reservation_id: _Optional[int] = ..., block_ids: _Optional[_Iterable[int]] = ..., num_cached_tokens: _Optional[int] = ..., lease_s: _Optional[float] = ...) -> None: ...

class ReservationEnded(_message.Message):
    __slots__ = ("reservation_id", "failure")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    reservation_id: int
    failure: _common_pb2.Failure
    def __init__(self, reservation_id: _Optional[int] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...
