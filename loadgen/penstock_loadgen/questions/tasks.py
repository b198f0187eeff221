"""Every task of the evaluation, what training learns from, and which seeds belong to which of the two."""

from collections.abc import Callable
from random import Random

from penstock_loadgen.questions import arithmetic, pictures, recall, stories
from penstock_loadgen.questions.dialogue import Dialogue, Turn, said

Make = Callable[[Random], Dialogue]

FIRST_HELD_OUT_SEED = 1 << 40  # training counts up from 0 and never comes here
_NUM_CHATTER = (1, 3)


def later_picture(random: Random) -> Dialogue:
    """A question about a picture of an earlier turn, after talk of other things."""
    about = pictures.asked_often(random)
    return Dialogue((about.turns[0], *_chatter(random), *about.turns[1:2]))


def later_code(random: Random) -> Dialogue:
    """A question about a code that an earlier turn named, after talk of other things."""
    codes = recall.draw_codes(random, random.randint(1, 4))
    told = " ".join(recall.named(key, code) for key, code in codes.items())
    key = random.choice(list(codes))
    asked = said("recall", recall.asked_for(random, key), recall.named(key, codes[key]))
    return Dialogue((said("noted", f"Remember this. {told}", "ok"), *_chatter(random), asked))


def _chatter(random: Random) -> list[Turn]:
    makers: list[Make] = [
        arithmetic.sums,
        arithmetic.series,
        pictures.asked_once("count"),
        pictures.asked_once("digit"),
    ]
    return [random.choice(makers)(random).turns[0] for _ in range(random.randint(*_NUM_CHATTER))]


PICTURE_TASKS: dict[str, Make] = {
    **{task: pictures.asked_once(task) for task in pictures.ASKS},
    "two_pictures": pictures.two_pictures,
    "later_picture": later_picture,
}
TEXT_TASKS: dict[str, Make] = {
    "recall": recall.recall(num_words=100),
    "recall_1k": recall.recall(num_words=800),
    "recall_4k": recall.recall(num_words=3200),
    "later_code": later_code,
    "series": arithmetic.series,
    "sum": arithmetic.held_out_sum,
    "repeat": arithmetic.repeat,
    "story": stories.story,
}
TASKS = PICTURE_TASKS | TEXT_TASKS


def held_out(task: str, index: int) -> Dialogue:
    """The question of that number, the same at all times; its seed is none of training's."""
    return TASKS[task](Random(f"{task} {FIRST_HELD_OUT_SEED + index}"))
