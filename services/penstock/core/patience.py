"""How long one request goes on looking for a worker, and where it stands among those that look."""

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """Where a request stands; smaller is earlier. Kept when it is refused once more."""

    deadline_s: float
    urgency: int  # minus priority
    arrival: int


@dataclass(slots=True)
class Patience:
    """Until the first token the deadline counts; after it a reader waits in the middle of a sentence."""

    first_token_deadline_s: float
    priority: int
    arrival: int
    progress_s: float  # the start, then whenever an attempt ended that had brought tokens
    is_streaming: bool = False

    def brought_tokens(self, now_s: float) -> None:
        self.progress_s, self.is_streaming = now_s, True

    @property
    def deadline_s(self) -> float:
        """Infinite when none was given, or when it has been met."""
        return float("inf") if self.is_streaming else self.first_token_deadline_s

    def until_s(self, patience_s: float) -> float:
        """How long to wait: until the deadline while there is one, else `patience_s` from the last progress."""
        return self.deadline_s if self.deadline_s < float("inf") else self.progress_s + patience_s

    @property
    def place(self) -> Place:
        """What streams already goes first."""
        return Place(float("-inf") if self.is_streaming else self.deadline_s, -self.priority, self.arrival)
