"""What a picture shows, before it is drawn: figures with shape, colour and place. Answers are derived from this."""

from dataclasses import dataclass
from random import Random

from penstock_loadgen.questions.words import COLOURS, DIGITS, PLACES, SHAPES

USUAL_SIDE = 64  # pixels
MIN_SIDE, MAX_SIDE = 56, 112
BACKGROUNDS = (255, 255, 255, 255, 240, 225, 25, 0)  # levels of grey
MAX_FIGURES = 8


@dataclass(frozen=True, slots=True)
class Figure:
    """A shape, or a digit, in the square of `size` pixels at (left, top). `tone` is between the two of its colour."""

    shape: str
    colour: str
    left: int
    top: int
    size: int
    tone: float = 1.0
    place: str = ""

    @property
    def name(self) -> str:
        """Such as "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture of `width` times `height` pixels; its figures do not overlap and are in reading order."""

    width: int
    height: int
    background: int
    figures: tuple[Figure, ...]

    def num_of(self, colour: str = "", shape: str = "") -> int:
        """How many figures have this colour and this shape; "" is any."""
        return sum(colour in ("", one.colour) and shape in ("", one.shape) for one in self.figures)

    def at(self, place: str) -> Figure | None:
        """The figure placed there."""
        return next((one for one in self.figures if one.place == place), None)


Kind = tuple[str, str]  # colour and shape


def any_kind(random: Random) -> Kind:
    """A colour and a shape."""
    return random.choice(tuple(COLOURS)), random.choice(SHAPES)


def scattered(random: Random, kinds: list[Kind]) -> Scene:
    """One figure of each kind given, anywhere on a loose grid."""
    assert len(kinds) <= MAX_FIGURES
    width, height = _sides(random)
    grid = 4 if len(kinds) > 6 or random.random() < 0.7 else 3
    column, row = width / grid, height / grid
    cells = sorted(random.sample(range(grid * grid), len(kinds)))
    kinds = random.sample(kinds, len(kinds))
    figures = []
    for cell, (colour, shape) in zip(cells, kinds, strict=True):
        room = int(min(column, row)) - 1
        size = random.randint(max(9, int(0.65 * room)), room)
        left = int(cell % grid * column) + random.randint(0, int(column) - size - 1)
        top = int(cell // grid * row) + random.randint(0, int(row) - size - 1)
        figures.append(Figure(shape, colour, left, top, size, random.random()))
    return Scene(width, height, random.choice(BACKGROUNDS), tuple(figures))


def placed(random: Random) -> Scene:
    """Two to five figures at named places."""
    width, height = _sides(random)
    names = random.sample(tuple(PLACES), random.randint(2, len(PLACES)))
    figures = []
    for name in sorted(names, key=lambda name: (PLACES[name][1], PLACES[name][0])):
        colour, shape = any_kind(random)
        size = int(min(width, height) * random.uniform(0.2, 0.26))
        x, y = (share + random.uniform(-0.015, 0.015) for share in PLACES[name])
        left, top = int(x * width - size / 2), int(y * height - size / 2)
        figures.append(Figure(shape, colour, max(0, left), max(0, top), size, random.random(), name))
    return Scene(width, height, random.choice(BACKGROUNDS), tuple(figures))


def single(random: Random) -> Scene:
    """One big figure."""
    return _alone(random, random.choice(SHAPES), 0.35)


def with_digit(random: Random) -> Scene:
    """One digit."""
    return _alone(random, random.choice(DIGITS), 0.45)


def _alone(random: Random, shape: str, min_share: float) -> Scene:
    width, height = _sides(random)
    size = int(min(width, height) * random.uniform(min_share, 0.85))
    left, top = random.randint(0, width - size), random.randint(0, height - size)
    figure = Figure(shape, random.choice(tuple(COLOURS)), left, top, size, random.random())
    return Scene(width, height, random.choice(BACKGROUNDS), (figure,))


def _sides(random: Random) -> tuple[int, int]:
    """Mostly small squares: a picture costs a token for each 16 by 16 pixels."""
    if random.random() < 0.75:
        return USUAL_SIDE, USUAL_SIDE
    return random.randint(MIN_SIDE, MAX_SIDE), random.randint(MIN_SIDE, MAX_SIDE)
