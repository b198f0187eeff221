"""Images that any decoder reads."""

import struct
import zlib
from typing import Any

import pytest

from penstock.core.errors import InvalidSettings
from penstock_loadgen.images import data_url, data_urls, png
from penstock_loadgen.sessions import ImageSpec, Session, TrafficClass, Turn


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


def shown(number: int, seed: int = 0, **images: Any) -> tuple[str, ...]:
    spec = ImageSpec(**{"count": 2, "width": 28, "height": 28, **images})
    turn = Turn(10, 10, num_images=spec.count)
    return data_urls(Session(number, 0.0, TrafficClass(images=spec), (turn,)), seed)


def test_pictures_are_all_different_and_the_same_seed_draws_the_same() -> None:
    assert shown(4) == shown(4)
    assert len({url for seed in (1, 2) for number in (4, 5) for url in shown(number, seed)}) == 8


def test_sessions_show_the_pictures_of_a_pool_again() -> None:
    assert len({url for number in range(50) for url in shown(number, pool=3)}) == 3
    assert all(len(set(shown(number, pool=3))) == 2 for number in range(50))
    assert len({shown(number, count=3, pool=3) for number in range(50)}) == 1  # in the pool's order
    assert set(shown(0, seed=1, pool=2)).isdisjoint(shown(0, seed=2, pool=2))


@pytest.mark.parametrize("wrong", [{"count": -1}, {"width": 0}, {"pool": 1}, {"place": "between"}])
def test_pictures_that_cannot_be_shown_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match="images"):
        shown(0, **wrong)
