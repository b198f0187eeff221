"""Scenes as pixels."""

import base64
import io
from collections.abc import Callable

from PIL import Image, ImageDraw

from penstock_loadgen.questions.scenes import Figure, Scene
from penstock_loadgen.questions.words import COLOURS

Colour = tuple[int, int, int]
Draw = ImageDraw.ImageDraw

_GLYPHS = (  # of the digits 0 to 9, seven rows of five
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "11110 00001 00001 01110 00001 00001 11110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def draw(scene: Scene) -> Image.Image:
    """The picture, in RGB."""
    picture = Image.new("RGB", (scene.width, scene.height), (scene.background,) * 3)
    canvas = ImageDraw.Draw(picture)
    for figure in scene.figures:
        paint = _PAINTERS.get(figure.shape, _digit)
        paint(canvas, figure, rgb(figure))
    return picture


def data_url(scene: Scene) -> str:
    """The picture as a PNG in a data URL."""
    file = io.BytesIO()
    draw(scene).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def rgb(figure: Figure) -> Colour:
    """Its colour: between the two tones of that name."""
    red, green, blue = (round(a + (b - a) * figure.tone) for a, b in zip(*COLOURS[figure.colour], strict=True))
    return red, green, blue


def _circle(canvas: Draw, figure: Figure, fill: Colour) -> None:
    canvas.ellipse(_box(figure), fill=fill)


def _square(canvas: Draw, figure: Figure, fill: Colour) -> None:
    canvas.rectangle(_box(figure), fill=fill)


def _triangle(canvas: Draw, figure: Figure, fill: Colour) -> None:
    left, top, right, bottom = _box(figure)
    canvas.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=fill)


def _cross(canvas: Draw, figure: Figure, fill: Colour) -> None:
    left, top, right, bottom = _box(figure)
    third = figure.size / 3
    canvas.rectangle((left, top + third, right, bottom - third), fill=fill)
    canvas.rectangle((left + third, top, right - third, bottom), fill=fill)


def _digit(canvas: Draw, figure: Figure, fill: Colour) -> None:
    cell = figure.size / 7
    left = figure.left + cell  # five columns in a square of seven
    for row, bits in enumerate(_GLYPHS[int(figure.shape)].split()):
        for column, bit in enumerate(bits):
            if bit == "1":
                x, y = left + column * cell, figure.top + row * cell
                canvas.rectangle((round(x), round(y), round(x + cell) - 1, round(y + cell) - 1), fill=fill)


def _box(figure: Figure) -> tuple[int, int, int, int]:
    return figure.left, figure.top, figure.left + figure.size - 1, figure.top + figure.size - 1


_PAINTERS: dict[str, Callable[[Draw, Figure, Colour], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
}
