"""What is in a picture, read from its pixels alone: the answers must hold for what is drawn, not for what was meant."""

from collections import Counter
from collections.abc import Iterator

from PIL import Image

from penstock_loadgen.questions.words import COLOURS

Pixel = tuple[int, int]


def seen_kinds(picture: Image.Image, background: int) -> Counter[tuple[str, str]]:
    """How many figures there are of each colour and shape."""
    return Counter((colour_of(picture, spot), shape_of(spot)) for spot in spots(picture, background))


def spots(picture: Image.Image, background: int) -> Iterator[set[Pixel]]:
    """Sets of connected pixels that are not background."""
    left = {
        (x, y)
        for x in range(picture.width)
        for y in range(picture.height)
        if picture.getpixel((x, y)) != (background,) * 3
    }
    while left:
        spot, border = set[Pixel](), {left.pop()}
        while border:
            x, y = border.pop()
            spot.add((x, y))
            near = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & left
            left -= near
            border |= near
        yield spot


def colour_of(picture: Image.Image, spot: set[Pixel]) -> str:
    """The name between whose tones its colour lies."""
    pixel = picture.getpixel(next(iter(spot)))
    assert isinstance(pixel, tuple)

    def distance(name: str) -> float:
        return min(
            sum(abs(a + (b - a) * step / 20 - seen) for a, b, seen in zip(*COLOURS[name], pixel, strict=True))
            for step in range(21)
        )

    return min(COLOURS, key=distance)


def shape_of(spot: set[Pixel]) -> str:
    """By its corners, and by how much of its box it fills."""
    left, right = min(x for x, _ in spot), max(x for x, _ in spot)
    top, bottom = min(y for _, y in spot), max(y for _, y in spot)
    if (left, bottom) in spot:
        return "square" if (left, top) in spot else "triangle"
    filled = len(spot) / ((right - left + 1) * (bottom - top + 1))
    return "circle" if filled > 0.66 else "cross"
