from penstock.wire.v1 import common_pb2 as _common_pb2
from penstock.wire.v1 import decode_pb2 as _decode_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeCalls(_message.Message):
    __slots__ = ("hello", "starts", "cancelled_handles")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_HANDLES_FIELD_NUMBER: _ClassVar[int]
    hello: _common_pb2.Hello
    starts: _containers.RepeatedCompositeFieldContainer[EncodeStart]
    cancelled_handles: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, hello: _Optional[_Union[_common_pb2.Hello, _Mapping]] = ..., starts: _Optional[_Iterable[_Union[EncodeStart, _Mapping]]] = ..., cancelled_handles: _Optional[_Iterable[int]] = ...) -> None: ...

class EncodeStart(_message.Message):
    __slots__ = ("request_id", "handle", "index", "image", "file", "destination", "first_token_in_s", "traceparent")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_IN_S_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    handle: int
    index: int
    image: _common_pb2.ImageSpan
    file: bytes
    destination: _common_pb2.WorkerRef
    first_token_in_s: float
    traceparent: str
    def __init__(self, request_id: _Optional[str] = ..., handle: _Optional[int] = ..., index: _Optional[int] = ..., image: _Optional[_Union[_common_pb2.ImageSpan, _Mapping]] = ..., file: _Optional[bytes] = ..., destination: _Optional[_Union[_common_pb2.WorkerRef, _Mapping]] = ..., first_token_in_s: _Optional[float] = ..., traceparent: _Optional[str] = ...) -> None: ...

class EncodeEvents(_message.Message):
    __slots__ = ("delivered", "failed")
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    delivered: _containers.RepeatedCompositeFieldContainer[ImageDelivered]
    failed: _containers.RepeatedCompositeFieldContainer[EncodeEnded]
    def __init__(self, delivered: _Optional[_Iterable[_Union[ImageDelivered, _Mapping]]] = ..., failed: _Optional[_Iterable[_Union[EncodeEnded, _Mapping]]] = ...) -> None: ...

class ImageDelivered(_message.Message):
    __slots__ = ("handle", "index", "was_cached", "spans")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WAS_CACHED_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    index: int
    was_cached: bool
    spans: _containers.RepeatedCompositeFieldContainer[_common_pb2.StageSpan]
    def __init__(self, handle: _Optional[int] = ..., index: _Optional[int] = ..., was_cached: _Optional[bool] = ..., spans: _Optional[_Iterable[_Union[_common_pb2.StageSpan, _Mapping]]] = ...) -> None: ...

class EncodeEnded(_message.Message):
    __slots__ = ("handle", "index", "failure")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    handle: int
    index: int
    failure: _common_pb2.Failure
    def __init__(self, handle: _Optional[int] = ..., index: _Optional[int] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...
