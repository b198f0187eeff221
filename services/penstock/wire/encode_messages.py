"""What crosses between gateways and whoever encodes images, as frozen types; see `codec.encoder`."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.errors import PenstockError
from penstock.core.images import ImageSpan
from penstock.core.types import WorkerRef
from penstock.wire.messages import Hello, StageSpan


@dataclass(frozen=True, slots=True)
class EncodeStart:
    """One image of one request, and whom its embeddings are for; the encoder itself means: deliver here."""

    request_id: str
    handle: int
    index: int  # among the request's images
    image: ImageSpan
    file: bytes
    destination: WorkerRef
    first_token_deadline_s: float = float("inf")  # local monotonic clock
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class EncodeCalls:
    hello: Hello | None = None
    starts: Sequence[EncodeStart] = ()
    cancelled_handles: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ImageDelivered:
    """The destination has the embeddings, and they checked out."""

    handle: int
    index: int
    was_cached: bool = False
    spans: Sequence[StageSpan] = ()


@dataclass(frozen=True, slots=True)
class EncodeEnded:
    """An image that was not delivered; another encoder may be tried."""

    handle: int
    index: int
    error: PenstockError


@dataclass(frozen=True, slots=True)
class EncodeEvents:
    delivered: Sequence[ImageDelivered] = ()
    failed: Sequence[EncodeEnded] = ()
