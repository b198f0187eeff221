"""Images that any decoder reads."""

import struct
import zlib

from penstock_loadgen.images import data_url, png


def test_a_picture_has_its_size_and_whole_rows() -> None:
    data = png("a", 30, 17)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (30, 17)
    begin = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[begin - 8 : begin - 4])
    pixels = zlib.decompress(data[begin : begin + length])
    assert len(pixels) == 17 * (1 + 30 * 3)
    assert (
        zlib.crc32(data[begin - 4 : begin + length])
        == struct.unpack(">I", data[begin + length : begin + length + 4])[0]
    )


def test_each_key_has_a_picture_of_its_own() -> None:
    assert png("a", 28, 28) == png("a", 28, 28) != png("b", 28, 28)
    assert data_url("a", 28, 28).startswith("data:image/png;base64,iVBOR")
