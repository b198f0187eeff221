from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DrainRequest(_message.Message):
    __slots__ = ("timeout_s",)
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    timeout_s: float
    def __init__(self, timeout_s: _Optional[float] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("num_sequences",)
    NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    num_sequences: int
    def __init__(self, num_sequences: _Optional[int] = ...) -> None: ...

class FlipRequest(_message.Message):
    __slots__ = ("role", "incarnation", "group")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    role: str
    incarnation: int
    group: str
    def __init__(self, role: _Optional[str] = ..., incarnation: _Optional[int] = ..., group: _Optional[str] = ...) -> None: ...

class FlipResponse(_message.Message):
    __slots__ = ("previous_role", "num_sequences")
    PREVIOUS_ROLE_FIELD_NUMBER: _ClassVar[int]
    NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    previous_role: str
    num_sequences: int
    def __init__(self, previous_role: _Optional[str] = ..., num_sequences: _Optional[int] = ...) -> None: ...

class HoldingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HoldingsResponse(_message.Message):
    __slots__ = ("num_sequences", "num_referenced_blocks", "num_reservations", "num_request_tasks", "num_open_files", "num_quarantined_blocks", "num_embedding_pages", "num_images")
    NUM_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    NUM_REFERENCED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NUM_RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    NUM_REQUEST_TASKS_FIELD_NUMBER: _ClassVar[int]
    NUM_OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    NUM_QUARANTINED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NUM_EMBEDDING_PAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    num_sequences: int
    num_referenced_blocks: int
    num_reservations: int
    num_request_tasks: int
    num_open_files: int
    num_quarantined_blocks: int
    num_embedding_pages: int
    num_images: int
    def __init__(self, num_sequences: _Optional[int] = ..., num_referenced_blocks: _Optional[int] = ..., num_reservations: _Optional[int] = ..., num_request_tasks: _Optional[int] = ..., num_open_files: _Optional[int] = ..., num_quarantined_blocks: _Optional[int] = ..., num_embedding_pages: _Optional[int] = ..., num_images: _Optional[int] = ...) -> None: ...
