from penstock.wire.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PrefillCalls(_message.Message):
    __slots__ = ("hello", "starts", "cancelled_handles")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_HANDLES_FIELD_NUMBER: _ClassVar[int]
    hello: _common_pb2.Hello
    starts: _containers.RepeatedCompositeFieldContainer[PrefillStart]
    cancelled_handles: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, hello: _Optional[_Union[_common_pb2.Hello, _Mapping]] = ..., starts: _Optional[_Iterable[_Union[PrefillStart, _Mapping]]] = ..., cancelled_handles: _Optional[_Iterable[int]] = ...) -> None: ...

class PrefillStart(_message.Message):
    __slots__ = ("request", "decode_candidates")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DECODE_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    request: _common_pb2.Request
    decode_candidates: _containers.RepeatedCompositeFieldContainer[_common_pb2.WorkerRef]
    def __init__(self, request: _Optional[_Union[_common_pb2.Request, _Mapping]] = ..., decode_candidates: _Optional[_Iterable[_Union[_common_pb2.WorkerRef, _Mapping]]] = ...) -> None: ...

class PrefillEvents(_message.Message):
    __slots__ = ("accepted_handles", "refused", "first_tokens", "handed_off", "failed", "has_capacity", "wanted_images")
    ACCEPTED_HANDLES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HANDED_OFF_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    HAS_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    WANTED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    accepted_handles: _containers.RepeatedScalarFieldContainer[int]
    refused: _containers.RepeatedCompositeFieldContainer[PrefillEnded]
    first_tokens: _containers.RepeatedCompositeFieldContainer[FirstToken]
    handed_off: _containers.RepeatedCompositeFieldContainer[HandedOff]
    failed: _containers.RepeatedCompositeFieldContainer[PrefillEnded]
    has_capacity: bool
    wanted_images: _containers.RepeatedCompositeFieldContainer[WantedImages]
    def __init__(self, accepted_handles: _Optional[_Iterable[int]] = ..., refused: _Optional[_Iterable[_Union[PrefillEnded, _Mapping]]] = ..., first_tokens: _Optional[_Iterable[_Union[FirstToken, _Mapping]]] = ..., handed_off: _Optional[_Iterable[_Union[HandedOff, _Mapping]]] = ..., failed: _Optional[_Iterable[_Union[PrefillEnded, _Mapping]]] = ..., has_capacity: _Optional[bool] = ..., wanted_images: _Optional[_Iterable[_Union[WantedImages, _Mapping]]] = ...) -> None: ...

class WantedImages(_message.Message):
    __slots__ = ("handle", "indices")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    handle: int
    indices: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, handle: _Optional[int] = ..., indices: _Optional[_Iterable[int]] = ...) -> None: ...

class PrefillEnded(_message.Message):
    __slots__ = ("handle", "failure")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    handle: int
    failure: _common_pb2.Failure
    def __init__(self, handle: _Optional[int] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class FirstToken(_message.Message):
    __slots__ = ("handle", "token_id", "logprobs", "num_cached_tokens", "finish_reason", "spans")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    NUM_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    token_id: int
    logprobs: _common_pb2.TokenLogprobs
    num_cached_tokens: int
    finish_reason: str
    spans: _containers.RepeatedCompositeFieldContainer[_common_pb2.StageSpan]
    def __init__(self, handle: _Optional[int] = ..., token_id: _Optional[int] = ..., logprobs: _Optional[_Union[_common_pb2.TokenLogprobs, _Mapping]] = ..., num_cached_tokens: _Optional[int] = ..., finish_reason: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[_common_pb2.StageSpan, _Mapping]]] = ...) -> None: ...

class HandedOff(_message.Message):
    __slots__ = ("handle", "decode", "spans")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    decode: _common_pb2.WorkerRef
    spans: _containers.RepeatedCompositeFieldContainer[_common_pb2.StageSpan]
    def __init__(self, handle: _Optional[int] = ..., decode: _Optional[_Union[_common_pb2.WorkerRef, _Mapping]] = ..., spans: _Optional[_Iterable[_Union[_common_pb2.StageSpan, _Mapping]]] = ...) -> None: ...
