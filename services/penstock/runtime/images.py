"""From the bytes of an image file to its pixels as RGB: one rule for all.

The gateway checks a file by it and counts tokens from its upright size; the encoder decodes by it. What the gateway
lets through, the encoder can read, and to the same size.

    upright        turned as EXIF says, so width and height are those a viewer sees
    transparent    laid on white
    16 bit grey    its upper 8 bits
    CMYK, palette  converted; colour profiles are not applied
    animated       refused: which frame is meant is the sender's to say
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from penstock.core.errors import UnreadableImage

# JPEG includes the MPO files of cameras. Each further decoder is one more that strangers may feed.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 50_000_000  # decoding takes up to 9 bytes for each
MAX_JPEG_SCANS = 64  # each goes over all pixels, however few bytes it has; cameras and editors make about ten

_JPEG_SCAN = b"\xff\xda"
# by EXIF's orientation, of which 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_KNOWN = "PNG, JPEG, WebP, GIF and BMP"
_FAILURES = (
    OSError,  # also what Pillow cannot identify, and files cut short
    SyntaxError,  # its word for broken PNG and EXIF
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)


def to_rgb(file: bytes) -> Image.Image:
    """The whole image, upright. Raises UnreadableImage with the reason."""
    with _decoded(file) as image:
        turn = _turn(image)
        return _as_rgb(image if turn is None else image.transpose(turn))


def upright_size(file: bytes) -> tuple[int, int]:
    """Width and height of what `to_rgb` makes of the file, after decoding all of it, in less memory."""
    with _decoded(file) as image:
        width, height = image.size
        return (height, width) if _turn(image) in _QUARTER_TURNS else (width, height)


@contextmanager
def _decoded(file: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(BytesIO(file), formats=FORMATS) as image:
            _check(image)
            if image.format in ("JPEG", "MPO") and file.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
                raise UnreadableImage(f"it has more than {MAX_JPEG_SCANS} scans")
            image.load()
            yield image
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"it is broken or of an unknown kind; {_KNOWN} are read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(_too_large()) from error
    except _FAILURES as error:
        raise UnreadableImage(f"it is broken or cut short ({str(error)[:128] or type(error).__name__})") from error


def _check(image: Image.Image) -> None:
    """What its header says, before anything is decoded."""
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage(f"it has {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"it has {width} x {height} pixels; {_too_large()}")
    # the further pictures in a camera's MPO are other views or previews, no animation
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnreadableImage("it is animated; send the frames that matter as images of their own")


def _too_large() -> str:
    return f"at most {MAX_PIXELS} pixels are read"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a decoded image upright; broken EXIF data says nothing."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _FAILURES:
        return None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")
