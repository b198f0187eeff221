from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoleCount(_message.Message):
    __slots__ = ("role", "num_workers")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    role: str
    num_workers: int
    def __init__(self, role: _Optional[str] = ..., num_workers: _Optional[int] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("targets", "is_dry_run")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    IS_DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[RoleCount]
    is_dry_run: bool
    def __init__(self, targets: _Optional[_Iterable[_Union[RoleCount, _Mapping]]] = ..., is_dry_run: _Optional[bool] = ...) -> None: ...

class ScaleChange(_message.Message):
    __slots__ = ("role", "num_before", "num_after", "ending_worker_ids")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NUM_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NUM_AFTER_FIELD_NUMBER: _ClassVar[int]
    ENDING_WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    role: str
    num_before: int
    num_after: int
    ending_worker_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, role: _Optional[str] = ..., num_before: _Optional[int] = ..., num_after: _Optional[int] = ..., ending_worker_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ScaleResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[ScaleChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[ScaleChange, _Mapping]]] = ...) -> None: ...

class FlipOrderRequest(_message.Message):
    __slots__ = ("worker_id", "role", "is_dry_run", "group")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    IS_DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    role: str
    is_dry_run: bool
    group: str
    def __init__(self, worker_id: _Optional[str] = ..., role: _Optional[str] = ..., is_dry_run: _Optional[bool] = ..., group: _Optional[str] = ...) -> None: ...

class FlipOrderResponse(_message.Message):
    __slots__ = ("previous_role", "num_sequences")
    PREVIOUS_ROLE_FIELD_NUMBER: _ClassVar[int]
    NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    previous_role: str
    num_sequences: int
    def __init__(self, previous_role: _Optional[str] = ..., num_sequences: _Optional[int] = ...) -> None: ...

class SteerRequest(_message.Message):
    __slots__ = ("steering",)
    STEERING_FIELD_NUMBER: _ClassVar[int]
    steering: str
    def __init__(self, steering: _Optional[str] = ...) -> None: ...

class SteerResponse(_message.Message):
    __slots__ = ("previous",)
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    previous: str
    def __init__(self, previous: _Optional[str] = ...) -> None: ...

class RolloutRequest(_message.Message):
    __slots__ = ("roles", "is_dry_run")
    ROLES_FIELD_NUMBER: _ClassVar[int]
    IS_DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[str]
    is_dry_run: bool
    def __init__(self, roles: _Optional[_Iterable[str]] = ..., is_dry_run: _Optional[bool] = ...) -> None: ...

class RolloutResponse(_message.Message):
    __slots__ = ("worker_ids",)
    WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    worker_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GrowRequest(_message.Message):
    __slots__ = ("group", "role", "num_workers")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    group: str
    role: str
    num_workers: int
    def __init__(self, group: _Optional[str] = ..., role: _Optional[str] = ..., num_workers: _Optional[int] = ...) -> None: ...

class GrowResponse(_message.Message):
    __slots__ = ("worker_ids",)
    WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    worker_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ShrinkRequest(_message.Message):
    __slots__ = ("worker_ids",)
    WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    worker_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ShrinkResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RestartRequest(_message.Message):
    __slots__ = ("worker_id",)
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    def __init__(self, worker_id: _Optional[str] = ...) -> None: ...

class RestartResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
