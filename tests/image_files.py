"""Image files for tests, made by Pillow: no file of anybody's is in the repository."""

from io import BytesIO
from typing import Any

from PIL import Image


def picture(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """Red at the top left, blue elsewhere, so that turning and mirroring show."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, max(1, width // 2), max(1, height // 2)))
    return image.convert(mode)


def image_file(image: Image.Image | None = None, form: str = "PNG", **options: Any) -> bytes:
    """`image` (a small picture unless given) as a file."""
    file = BytesIO()
    (image or picture()).save(file, form, **options)
    return file.getvalue()


def animated_file(form: str = "GIF") -> bytes:
    """Two frames."""
    return image_file(picture(), form, save_all=True, append_images=[picture().rotate(180)], duration=100)
