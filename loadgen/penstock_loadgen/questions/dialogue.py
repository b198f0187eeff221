"""What is asked and what the right answer is: turns of text and pictures, each with the task it belongs to."""

from dataclasses import dataclass

from penstock_loadgen.questions.scenes import Scene

Part = str | Scene


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, and the only right answer to it."""

    task: str
    asked: tuple[Part, ...]
    answer: str

    @property
    def scenes(self) -> list[Scene]:
        """Its pictures, in order."""
        return [part for part in self.asked if isinstance(part, Scene)]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns, the last of which is what an evaluation asks; training learns from all."""

    turns: tuple[Turn, ...]
    system: str = ""

    @property
    def last(self) -> Turn:
        """The turn that is graded."""
        return self.turns[-1]


def said(task: str, question: str, answer: str) -> Turn:
    """A turn of text alone."""
    return Turn(task, (question,), answer)
