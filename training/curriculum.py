"""What is learned when: copying and simple pictures first; what recall needs forms on short texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from penstock_loadgen.questions import arithmetic, pictures, recall, stories
from penstock_loadgen.questions.dialogue import Dialogue
from penstock_loadgen.questions.scenes import Scene
from penstock_loadgen.questions.tasks import FIRST_HELD_OUT_SEED, later_code, later_picture

SYSTEM = "You are a helpful assistant."
_SYSTEM_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """Until which share of the time, how hard, and how much of what."""

    until: float
    max_items: int  # to repeat
    max_codes: int
    max_words: int  # between codes
    scenes: Mapping[str, float]  # shares of the sorts of pictures
    shares: Mapping[str, float]  # of the sorts of dialogues
    num_scenes: int  # in a step of a process, beside its dialogues: only to be named
    stretched_share: float = 0.4  # of dialogues that have holes in their positions
    long_words: int = 0  # of a text that does not share a batch
    long_share: float = 0.0  # of steps that have one


_SIMPLE_SCENES = {"crowd": 2, "placed": 3, "single": 3, "digit": 3}
_COPYING = {"repeat": 6.0, "recall": 4.0, "sums": 1.5, "series": 0.5, "two_pictures": 0.5, "story": 0.2}
_ALL = {
    "pictures": 12.0,
    "recall": 2.5,
    "repeat": 0.5,
    "sums": 0.8,
    "series": 0.5,
    "story": 0.4,
    "two_pictures": 0.8,
    "later_picture": 0.5,
    "later_code": 0.5,
}
_NAMED = {"crowd": 2, "placed": 2, "single": 1, "digit": 5}  # digits are the hardest to name
_USUAL = {"crowd": 5, "placed": 4, "single": 1, "digit": 3}
STAGES = (
    Stage(0.30, 12, 6, 10, _SIMPLE_SCENES, {"pictures": 6, **_COPYING}, 32, stretched_share=0.0),
    Stage(0.60, 30, 12, 100, _USUAL, _ALL, 12, stretched_share=0.2),
    Stage(0.75, 30, 12, 60, _USUAL, _ALL, 4, long_words=1500, long_share=0.04),
    Stage(1.00, 30, 12, 60, _USUAL, _ALL, 4, long_words=3300, long_share=0.04),
)


def stage_at(progress: float) -> Stage:
    """The one that a share of the time falls into."""
    return next((stage for stage in STAGES if progress < stage.until), STAGES[-1])


def draw_dialogue(stage: Stage, seed: int, index: int) -> Dialogue:
    """What training sees as number `index`; short enough to share a batch."""
    assert index < FIRST_HELD_OUT_SEED
    random = Random(f"training {seed} {index}")
    sort = random.choices(tuple(stage.shares), tuple(stage.shares.values()))[0]
    dialogue = _MAKERS[sort](random, stage)
    return Dialogue(dialogue.turns, SYSTEM) if random.random() < _SYSTEM_SHARE else dialogue


def draw_scenes(stage: Stage, seed: int, index: int) -> list[Scene]:
    """Pictures that nothing is asked about."""
    random = Random(f"training scenes {seed} {index}")
    return [pictures.any_scene(random, _NAMED) for _ in range(stage.num_scenes)]


def has_long_dialogue(stage: Stage, seed: int, num_steps: int) -> bool:
    """Whether this step has a long text to recall from; if so, in every process: none waits for another's."""
    return Random(f"training long {seed} {num_steps}").random() < stage.long_share


def draw_long_dialogue(stage: Stage, seed: int, index: int) -> Dialogue:
    """One that fills a batch by itself."""
    random = Random(f"training long {seed} {index}")
    return recall.recall_often(random, stage.long_words // 3, stage.long_words)


_MAKERS: dict[str, Callable[[Random, Stage], Dialogue]] = {
    "pictures": lambda random, stage: pictures.asked_often(random, stage.scenes),
    "two_pictures": lambda random, _: pictures.two_pictures(random),
    "later_picture": lambda random, _: later_picture(random),
    "recall": lambda random, stage: recall.recall_often(random, 2, stage.max_words, stage.max_codes),
    "later_code": lambda random, _: later_code(random),
    "repeat": lambda random, stage: arithmetic.repeat(random, stage.max_items),
    "series": lambda random, _: arithmetic.many_series(random),
    "sums": lambda random, _: arithmetic.sums(random),
    "story": lambda random, _: stories.story(random),
}
