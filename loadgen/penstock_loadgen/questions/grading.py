"""Whether an answer is right. Answers are closed, so it says exactly what was wanted; a story must be one of ours."""

from penstock_loadgen.questions import stories
from penstock_loadgen.questions.dialogue import Turn
from penstock_loadgen.questions.words import HEROES


def is_right(turn: Turn, answer: str) -> bool:
    """Capitals, spaces around it and a final stop do not matter."""
    if turn.task == "story":
        return stories.is_story_about(_hero(turn), answer)
    return _plain(answer) == _plain(turn.answer)


def _hero(turn: Turn) -> str:
    text = " ".join(part for part in turn.asked if isinstance(part, str))
    return next(hero for hero in HEROES if hero in text)


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").lower()
