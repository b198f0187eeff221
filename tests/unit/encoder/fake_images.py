"""An encoder without a vision tower: it takes a while, and says what it was given."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.core.errors import PenstockError, UnreadableImage
from penstock.core.images import ImageSpan
from penstock.core.types import WorkerRef
from penstock.encoder.loop import Encoder, EncoderLimits
from penstock.engine.image_encoder import EncodeInput
from penstock.runtime.outbox import Outbox
from penstock.transfer.memory import Bytes
from penstock.wire.encode_messages import EncodeEvents, EncodeStart
from penstock.wire.messages import StageSpan
from tests.unit.virtual_time import now_s

ENCODE_S = 0.1
ROW_BYTES = 8
ME = WorkerRef("prefill-0", 11, "prefill-0:1")


def make_start(name: str = "red", handle: int = 0, index: int = 0, num_tokens: int = 20, **fields: Any) -> EncodeStart:
    """An image whose file is its name."""
    image = ImageSpan(10, num_tokens, name.encode().ljust(16, b"-"), (1, 4, num_tokens))
    return EncodeStart(f"r{handle}", handle, index, image, name.encode(), ME, **fields)


def rows_of(name: str, num_tokens: int = 20) -> Bytes:
    return np.full((num_tokens, ROW_BYTES), sum(name.encode()) % 251, np.uint8)


class FakeImageEncoder:
    """A file that begins with "bad" cannot be read."""

    info: Any = None

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        names = [image.file.decode() for image in images]
        self.batches.append(names)
        await asyncio.sleep(ENCODE_S)
        if bad := [name for name in names if name.startswith("bad")]:
            raise UnreadableImage(f"The file {bad[0]} is no image.")
        return [rows_of(image.file.decode(), image.grid[2]) for image in images]

    def close(self) -> None: ...


class EncodeWorker:
    """An encoder, what it delivered, and one gateway that listens."""

    def __init__(self, limits: EncoderLimits) -> None:
        self.images = FakeImageEncoder()
        self.encoder = Encoder(self.images, self._deliver, limits, now_s)
        self.outbox: Outbox[EncodeEvents] = Outbox()
        self.taken: list[tuple[str, EncodeStart, Bytes]] = []
        self.deliver_s = 0.0
        self.error: PenstockError | None = None

    async def _deliver(self, gateway_id: str, start: EncodeStart, rows: Bytes) -> Sequence[StageSpan]:
        await asyncio.sleep(self.deliver_s)
        if self.error is not None:
            raise self.error
        self.taken.append((gateway_id, start, rows))
        return ()

    def start(self, *starts: EncodeStart, gateway_id: str = "gateway") -> None:
        for start in starts:
            self.encoder.start(gateway_id, start, self.outbox)

    def said(self, name: str) -> list[Any]:
        return [item for events in self.outbox._items for item in getattr(events, name)]

    @property
    def delivered(self) -> list[tuple[int, int]]:
        return [(item.handle, item.index) for item in self.said("delivered")]
