"""What is learned when: short texts first, for recall needs a circuit that forms on them; then longer and longer."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from penstock_loadgen.questions import arithmetic, pictures, recall, stories
from penstock_loadgen.questions.dialogue import Dialogue
from penstock_loadgen.questions.tasks import FIRST_HELD_OUT_SEED, later_code, later_picture

SYSTEM = "You are a helpful assistant."
_SYSTEM_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """Which share of the time it ends at, how long texts to recall from are, how often a step has a very long one."""

    until: float
    max_recall_words: int
    long_words: int
    long_share: float


STAGES = (
    Stage(0.30, max_recall_words=40, long_words=0, long_share=0.0),
    Stage(0.50, max_recall_words=150, long_words=700, long_share=0.1),
    Stage(0.75, max_recall_words=250, long_words=1500, long_share=0.25),
    Stage(1.00, max_recall_words=250, long_words=3300, long_share=0.3),
)


def stage_at(progress: float) -> Stage:
    """The one that a share of the time falls into."""
    return next((stage for stage in STAGES if progress < stage.until), STAGES[-1])


def draw_dialogue(stage: Stage, seed: int, index: int) -> Dialogue:
    """What training sees as number `index`; short enough to share a batch."""
    assert index < FIRST_HELD_OUT_SEED
    random = Random(f"training {seed} {index}")
    makers: dict[str, tuple[float, Callable[[Random], Dialogue]]] = {
        "pictures": (10, pictures.asked_often),
        "two_pictures": (2, pictures.two_pictures),
        "later_picture": (1, later_picture),
        "recall": (5, lambda random: recall.recall_often(random, stage.max_recall_words)),
        "later_code": (1, later_code),
        "repeat": (2, arithmetic.repeat),
        "series": (1.5, arithmetic.many_series),
        "sums": (4, arithmetic.sums),
        "story": (0.5, stories.story),
    }
    _, make = random.choices(tuple(makers.values()), [share for share, _ in makers.values()])[0]
    dialogue = make(random)
    return Dialogue(dialogue.turns, SYSTEM) if random.random() < _SYSTEM_SHARE else dialogue


def draw_long_dialogue(stage: Stage, seed: int, index: int) -> Dialogue | None:
    """A long text to recall from, in some of the steps."""
    random = Random(f"training long {seed} {index}")
    if random.random() >= stage.long_share:
        return None
    return recall.recall_often(random, stage.long_words)
