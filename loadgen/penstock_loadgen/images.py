"""Images as requests carry them: PNG data URLs of a given size, each with a content of its own."""

import base64
import struct
import zlib
from functools import lru_cache
from random import Random

from penstock_loadgen.sessions import Session

_CELL = 14  # pixels: one patch of a usual vision tower, so that neighbouring patches differ
_MAX_KEPT = 64  # pictures of a pool come again


def data_urls(session: Session, seed: int) -> tuple[str, ...]:
    """The pictures of a session, in order: the same seed and number give the same ones. Milliseconds for each."""
    spec, number = session.traffic_class.images, session.number
    indices: list[int] = list(range(session.turns[0].num_images))
    mark = f"{number} "
    if spec.pool:
        indices = sorted(Random(f"{seed} images {number}").sample(range(spec.pool), len(indices)))
        mark = "pool "
    return tuple(data_url(f"{seed} {mark}{index}", spec.width, spec.height) for index in indices)


@lru_cache(maxsize=_MAX_KEPT)
def data_url(key: str, width: int, height: int) -> str:
    """A chequered picture determined by `key`."""
    return "data:image/png;base64," + base64.b64encode(png(key, width, height)).decode()


def png(key: str, width: int, height: int) -> bytes:
    """8-bit RGB, coloured in squares."""
    random = Random(key)
    columns = -(-width // _CELL)
    rows = []
    for _ in range(-(-height // _CELL)):
        row = b"".join(random.randbytes(3) * _CELL for _ in range(columns))[: width * 3]
        rows += [b"\x00" + row] * _CELL  # 0: the row is not filtered
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows[:height]), 1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
