"""Questions about pictures. A question is drawn for a scene, and its answer derived from the scene."""

from collections.abc import Callable, Mapping
from random import Random

from penstock_loadgen.questions.dialogue import Dialogue, Turn
from penstock_loadgen.questions.scenes import (
    MAX_FIGURES,
    Figure,
    Kind,
    Scene,
    any_kind,
    placed,
    scattered,
    single,
    with_digit,
)
from penstock_loadgen.questions.words import COLOURS, MAX_COUNT, SHAPES

Asked = tuple[str, str]  # question and answer
Ask = Callable[[Random, Scene], Asked]


def crowd(random: Random) -> Scene:
    """A scene to count in: one kind as often as drawn evenly from 0 to 5, among others that share its looks."""
    wanted = any_kind(random)
    num_wanted = random.randint(0, MAX_COUNT)
    num_others = random.randint(1 if num_wanted == 0 else 0, min(4, MAX_FIGURES - num_wanted))
    return scattered(random, [wanted] * num_wanted + [_other(random, wanted) for _ in range(num_others)])


def _other(random: Random, kind: Kind) -> Kind:
    """Another kind, mostly with the same colour or the same shape."""
    while True:
        colour, shape = any_kind(random)
        draw = random.random()
        other = (kind[0], shape) if draw < 0.3 else (colour, kind[1]) if draw < 0.6 else (colour, shape)
        if other != kind:
            return other


def count(random: Random, scene: Scene) -> Asked:
    """How many of a kind, of a colour or of a shape; every count that the scene holds is as likely to be asked for."""
    queries = [
        *((colour, shape) for colour in COLOURS for shape in SHAPES),
        *((colour, "") for colour in COLOURS),
        *(("", shape) for shape in SHAPES),
    ]
    by_answer: dict[int, list[Kind]] = {}
    for query in queries:
        by_answer.setdefault(scene.num_of(*query), []).append(query)
    answer = random.choice([number for number in by_answer if number <= MAX_COUNT])
    colour, shape = random.choice(by_answer[answer])
    plural = f"{shape or 'shape'}{'es' if shape == 'cross' else 's'}"
    what = f"{colour} {plural}".strip()
    question = random.choice(
        (
            f"How many {what} are there?",
            f"How many {what} are in the picture?",
            f"how many {what}?",
            f"How many {what}?",
            f"How many {what} do you see?",
            f"Count the {what}.",
        )
    )
    return question, str(answer)


def presence(random: Random, scene: Scene) -> Asked:
    """Whether a kind is there, as often yes as no."""
    kinds = [(one.colour, one.shape) for one in scene.figures]
    if random.random() < 0.5:
        colour, shape = random.choice(kinds)
    else:
        colour, shape = _other(random, random.choice(kinds))
    answer = "yes" if (colour, shape) in kinds else "no"
    name = f"{_article(colour)} {colour} {shape}"
    question = random.choice((f"Is there {name}?", f"Is there {name} in the picture?", f"Do you see {name}?"))
    return question, answer


def colour_at(random: Random, scene: Scene) -> Asked:
    """The colour of what is at a place, or of the only figure."""
    figure = random.choice(scene.figures)
    if not figure.place:
        thing = "digit" if figure.shape.isdigit() else figure.shape
        return random.choice(("Which colour is it?", f"What colour is the {thing}?")), figure.colour
    where = _where(figure.place)
    forms = (
        f"Which colour is the shape {where}?",
        f"What colour is {where}?",
        f"What colour is the {figure.shape} {where}?",
    )
    return random.choice(forms), figure.colour


def shape_at(random: Random, scene: Scene) -> Asked:
    """The shape of what is at a place, or of the only figure."""
    figure = random.choice(scene.figures)
    if not figure.place:
        return random.choice(("Which shape is it?", "What shape do you see?", "What shape is it?")), figure.shape
    where = _where(figure.place)
    return random.choice((f"Which shape is {where}?", f"What shape is {where}?", f"What is {where}?")), figure.shape


def digit(random: Random, scene: Scene) -> Asked:
    """Which digit is drawn."""
    forms = ("Which digit is drawn?", "Which digit is it?", "What digit do you see?", "What number is in the picture?")
    return random.choice(forms), scene.figures[0].shape


def description(random: Random, scene: Scene) -> Asked:
    """All of it in reading order."""
    forms = ("What is in the picture?", "Describe the picture.", "What do you see?", "List the shapes.")
    return random.choice(forms), ", ".join(named(one) for one in scene.figures)


def named(figure: Figure) -> str:
    """Such as "a red circle", "a blue 7"."""
    return f"{_article(figure.colour)} {figure.name}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _where(place: str) -> str:
    return {"left": "on the left", "right": "on the right", "middle": "in the middle"}.get(place, f"at the {place}")


SCENES: dict[str, tuple[Callable[[Random], Scene], tuple[Ask, ...]]] = {
    "crowd": (crowd, (count, count, count, presence, description)),
    "placed": (placed, (colour_at, shape_at, colour_at, shape_at, description)),
    "single": (single, (colour_at, shape_at, description)),
    "digit": (with_digit, (digit, digit, colour_at, description)),
}
"""How to make a scene of each sort, and what may be asked about it."""

USUAL_SHARES: Mapping[str, float] = {"crowd": 6, "placed": 3, "single": 1, "digit": 2}

ASKS: dict[str, tuple[str, Ask]] = {
    "count": ("crowd", count),
    "presence": ("crowd", presence),
    "colour": ("placed", colour_at),
    "shape": ("placed", shape_at),
    "digit": ("digit", digit),
    "description": ("crowd", description),
}
"""Tasks of one picture and one question: the sort of scene, and the question."""

_TASK_OF = {ask: task for task, (_, ask) in ASKS.items()}


def asked_once(task: str) -> Callable[[Random], Dialogue]:
    """A maker of dialogues with one picture and one question."""
    sort, ask = ASKS[task]

    def make(random: Random) -> Dialogue:
        scene = SCENES[sort][0](random)
        return Dialogue((_with_picture(random, task, scene, ask(random, scene)),))

    return make


def asked_often(random: Random, shares: Mapping[str, float] = USUAL_SHARES) -> Dialogue:
    """One picture and several questions about it: what training gets most from. `shares` are of the sorts of scenes."""
    make, asks = SCENES[_sort(random, shares)]
    scene = make(random)
    turns: list[Turn] = []
    for _ in range(random.randint(3, 8)):
        ask = random.choice(asks)
        pair = ask(random, scene)
        if all(pair[0] != turn.asked[-1] for turn in turns):
            turns.append(
                _with_picture(random, _TASK_OF[ask], scene, pair) if not turns else _plain(_TASK_OF[ask], pair)
            )
    return Dialogue(tuple(turns))


def any_scene(random: Random, shares: Mapping[str, float] = USUAL_SHARES) -> Scene:
    """A picture that nothing is asked about."""
    return SCENES[_sort(random, shares)][0](random)


def _sort(random: Random, shares: Mapping[str, float]) -> str:
    return random.choices(tuple(shares), tuple(shares.values()))[0]


def two_pictures(random: Random) -> Dialogue:
    """Which of two pictures has more of something, or what is in one of them."""
    return Dialogue((more(random) if random.random() < 0.5 else which(random),))


def more(random: Random) -> Turn:
    """Which picture has more."""
    shape = random.choice(SHAPES)
    scenes = [
        scattered(random, [*_of_shape(random, shape, number), *_without(random, shape)])
        for number in random.choices(range(1, MAX_COUNT + 1), k=2)
    ]
    first, second = (scene.num_of(shape=shape) for scene in scenes)
    answer = "first" if first > second else "second" if second > first else "same"
    plural = f"{shape}{'es' if shape == 'cross' else 's'}"
    return Turn("two_pictures", (*scenes, f"Which picture has more {plural}, first, second or same?"), answer)


def _of_shape(random: Random, shape: str, number: int) -> list[Kind]:
    return [(random.choice(tuple(COLOURS)), shape) for _ in range(number)]


def _without(random: Random, shape: str) -> list[Kind]:
    """One of another shape, or none."""
    return [kind for kind in [any_kind(random)] if kind[1] != shape]


def which(random: Random) -> Turn:
    """What is in the first, or in the second picture."""
    scenes = [single(random), single(random)]
    index = random.randrange(2)
    order = ("first", "second")[index]
    answer = named(scenes[index].figures[0])
    question = random.choice((f"What is in the {order} picture?", f"Describe the {order} picture."))
    return Turn("two_pictures", (*scenes, question), answer)


def _with_picture(random: Random, task: str, scene: Scene, pair: Asked) -> Turn:
    """Mostly the picture first, as most clients send it."""
    parts = (scene, pair[0]) if random.random() < 0.8 else (pair[0], scene)
    return Turn(task, parts, pair[1])


def _plain(task: str, pair: Asked) -> Turn:
    return Turn(task, (pair[0],), pair[1])
