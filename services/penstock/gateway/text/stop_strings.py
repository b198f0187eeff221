"""Stop strings: found across token boundaries, and never shown, not even their beginnings."""

from collections.abc import Sequence


class StopStrings:
    """Holds back the longest end of the text that could begin a stop string.

    text:  [ ... shown ............ | .. held .. ]
                                      a proper prefix of some stop string
    """

    __slots__ = ("_held", "_stops", "is_matched")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_matched = False

    def push(self, text: str) -> str:
        """The text that may be shown now. When a stop string is complete, what precedes it, and `is_matched` is set."""
        if not text:
            return ""
        text = self._held + text
        cut = min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self.is_matched = True
            self._held = ""
            return text[:cut]
        num_held = max(_overlap(text, stop) for stop in self._stops)
        shown = len(text) - num_held
        self._held = text[shown:]
        return text[:shown]

    def flush(self) -> str:
        """What was held back, once nothing more can complete it."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    first = stop[0]
    at = text.find(first, max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(first, at + 1)
    return 0
