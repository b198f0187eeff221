"""Image files become upright RGB, or an UnreadableImage that says why; nothing else, whatever the bytes."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from penstock.core.errors import UnreadableImage
from penstock.runtime.images import to_rgb, upright_size
from tests.image_files import animated_file, image_file, picture

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112


def near(found: object, expected: tuple[int, int, int]) -> bool:
    return isinstance(found, tuple) and all(abs(a - b) <= 3 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
        ("RGB", "JPEG", {"quality": 95, "subsampling": 0}),
        ("CMYK", "JPEG", {"quality": 95, "subsampling": 0}),
    ],
)
def test_every_kind_of_pixel_comes_out_as_rgb(mode: str, form: str, options: dict[str, int]) -> None:
    image = to_rgb(image_file(picture(mode=mode), form, **options))
    assert (image.mode, image.size) == ("RGB", (48, 32))
    assert near(image.getpixel((4, 4)), RED) and near(image.getpixel((40, 28)), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_stays_grey(mode: str) -> None:
    image = to_rgb(image_file(Image.new("L", (8, 8), 255).convert(mode)))
    assert (image.mode, image.getpixel((3, 3))) == ("RGB", WHITE)


def test_of_16_bits_the_upper_8_count() -> None:
    levels = np.array([[0, 255, 256, 0x8000, 0xFFFF]], dtype=np.uint16)
    image = to_rgb(image_file(Image.fromarray(levels)))
    assert [image.getpixel((x, 0)) for x in range(5)] == [(v, v, v) for v in (0, 0, 1, 128, 255)]


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (4, 1), (*RED, 255))
    image.putpixel((1, 0), (*RED, 0))
    image.putpixel((2, 0), (*RED, 51))
    found = to_rgb(image_file(image))
    assert [found.getpixel((x, 0)) for x in range(3)] == [RED, WHITE, (255, 204, 204)]


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = picture(mode="P")
    file = image_file(image, "PNG", transparency=image.getpixel((0, 0)))
    assert to_rgb(file).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("orientation", range(10))
def test_exif_turns_the_image_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = image_file(picture(), "PNG", exif=exif)
    with Image.open(BytesIO(file)) as image:
        expected = ImageOps.exif_transpose(image)
    assert to_rgb(file).tobytes() == expected.tobytes()
    assert upright_size(file) == expected.size == ((32, 48) if orientation in (5, 6, 7, 8) else (48, 32))


@pytest.mark.filterwarnings("ignore:.*EXIF")  # Pillow warns, and so it does of the broken files below
def test_broken_exif_turns_nothing() -> None:
    file = image_file(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03")
    assert to_rgb(file).size == (48, 32)


def test_a_cameras_file_with_a_preview_is_its_first_picture() -> None:
    file = image_file(picture(), "MPO", save_all=True, append_images=[picture(24, 16)])
    assert to_rgb(file).size == (48, 32)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "unknown kind"),
        (b"GIF89a", "unknown kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown kind"),
        (image_file(picture(), "TIFF"), "PNG, JPEG, WebP, GIF and BMP are read"),
        (image_file(picture(), "PDF"), "unknown kind"),
        (image_file()[:-30], "cut short"),
        (image_file(picture(), "JPEG")[:-200], "cut short"),
        (image_file(picture(), "WEBP")[:-20], "broken or"),
        (animated_file("GIF"), "animated"),
        (animated_file("PNG"), "animated"),
        (animated_file("WEBP"), "animated"),
    ],
)
def test_what_cannot_be_read_says_why(file: bytes, reason: str) -> None:
    for read in (to_rgb, upright_size):
        with pytest.raises(UnreadableImage, match=reason):
            read(file)


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_001), (20_000, 6_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_a_size_that_no_image_should_have_is_refused_before_anything_is_decoded(width: int, height: int) -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    file = head + image_file()[len(head) :]
    with pytest.raises(UnreadableImage):
        to_rgb(file)


def test_a_jpeg_that_is_drawn_over_and_over_is_refused() -> None:
    file = image_file(picture(), "JPEG", progressive=True)
    begin = file.rindex(b"\xff\xda")
    last_scan = file[begin:-2]
    repeated = file[:-2] + last_scan * 10 + file[-2:]
    assert to_rgb(repeated).tobytes() == to_rgb(file).tobytes()
    with pytest.raises(UnreadableImage, match="more than 64 scans"):
        to_rgb(file[:-2] + last_scan * 64 + file[-2:])


FILES = [
    *(image_file(picture(12, 8), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")),
    image_file(picture(12, 8, "P")),
    image_file(picture(12, 8, "CMYK"), "JPEG"),
    animated_file(),
]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_broken_bytes_are_unreadable_and_nothing_worse(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(file) - 1))
        file[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
        if not file:
            break
    try:
        image = to_rgb(bytes(file))
        assert (image.mode, image.size) == ("RGB", upright_size(bytes(file)))
    except UnreadableImage as error:
        assert error.message
