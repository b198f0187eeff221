"""Virtual time: what happens next, and when.

Events at the same moment happen in the order they were scheduled, so a run is the same every time. Nothing here, and
nothing that runs on it, reads a clock.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

Action = Callable[[], None]


class EventQueue:
    """A heap of (time, order, action). Actions schedule further ones; none is taken back, only made to do nothing."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_done = 0
        self._heap: list[tuple[float, int, Action]] = []
        self._num_scheduled = 0
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._heap)

    def time_s(self) -> float:
        """The virtual clock, for whoever takes one as a function."""
        return self.now_s

    def at(self, time_s: float, action: Action) -> None:
        """Do `action` at `time_s`, or now if that has passed."""
        self._num_scheduled += 1
        heappush(self._heap, (max(time_s, self.now_s), self._num_scheduled, action))

    def after(self, delay_s: float, action: Action) -> None:
        """Do `action` in `delay_s` seconds."""
        self._num_scheduled += 1
        heappush(self._heap, (self.now_s + delay_s, self._num_scheduled, action))

    def stop(self) -> None:
        """Let `run` return after the action under way; nothing that was to come happens."""
        self._is_stopped = True

    def run(self, until_s: float = inf) -> None:
        """Do everything up to `until_s`; without it, until nothing is left to do."""
        heap = self._heap
        while heap and heap[0][0] <= until_s and not self._is_stopped:
            self.now_s, _, action = heappop(heap)
            action()
            self.num_done += 1
