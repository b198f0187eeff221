"""The one queue of the simulated gateway: requests that every worker refused, earliest first-token deadline first.

Mirrors `gateway.waiting_queue`: one piece of news wakes one, and each that gets through wakes two more.
"""

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush

from penstock.core.patience import Place
from penstock.simulator.events import EventQueue

OnTurn = Callable[[bool], None]


class _Waiter:
    __slots__ = ("is_done", "on_turn")

    def __init__(self, on_turn: OnTurn) -> None:
        self.on_turn = on_turn
        self.is_done = False


class WaitingQueue:
    """`tick_s` is how often the first one tries in case no news came; only while somebody waits."""

    def __init__(self, events: EventQueue, max_num_waiting: int, tick_s: float) -> None:
        self._events = events
        self._max_num_waiting = max_num_waiting
        self._tick_s = tick_s
        self._heap: list[tuple[Place, int, _Waiter]] = []
        self._num_waiting = 0
        self._num_entered = 0
        self._is_ticking = False

    def __len__(self) -> int:
        return self._num_waiting

    @property
    def is_full(self) -> bool:
        """Whether newcomers should be turned away; who was in already may come back."""
        return self._num_waiting >= self._max_num_waiting

    def would_lead(self, place: Place) -> bool:
        """Whether a request at `place` has nobody before it."""
        while self._heap and self._heap[0][2].is_done:
            heappop(self._heap)
        return not self._heap or place < self._heap[0][0]

    def wait(self, place: Place, until_s: float, on_turn: OnTurn) -> None:
        """Call `on_turn` with True for a turn, with False when `until_s` has passed."""
        waiter = _Waiter(on_turn)
        self._num_entered += 1
        heappush(self._heap, (place, self._num_entered, waiter))
        self._num_waiting += 1
        if until_s < float("inf"):
            self._events.at(until_s, partial(self._leave, waiter, False))
        if not self._is_ticking:
            self._is_ticking = True
            self._events.after(self._tick_s, self._tick)

    def wake(self, num_waiting: int = 1) -> None:
        """Let the first few try again."""
        while num_waiting and self._heap:
            waiter = heappop(self._heap)[2]
            if not waiter.is_done:
                num_waiting -= 1
                self._leave(waiter, True)

    def _leave(self, waiter: _Waiter, has_turn: bool) -> None:
        if not waiter.is_done:
            waiter.is_done = True
            self._num_waiting -= 1
            self._events.after(0.0, partial(waiter.on_turn, has_turn))

    def _tick(self) -> None:
        self._is_ticking = self._num_waiting > 0
        if self._is_ticking:
            self.wake()
            self._events.after(self._tick_s, self._tick)
