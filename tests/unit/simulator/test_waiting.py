"""The gateway's one queue, in virtual time."""

from penstock.core.patience import Place
from penstock.simulator.events import EventQueue
from penstock.simulator.waiting import WaitingQueue


class Line:
    def __init__(self, tick_s: float = 100.0) -> None:
        self.events = EventQueue()
        self.queue = WaitingQueue(self.events, max_num_waiting=3, tick_s=tick_s)
        self.turns: list[tuple[str, bool, float]] = []

    def wait(self, name: str, deadline_s: float, until_s: float = float("inf")) -> None:
        place = Place(deadline_s, 0, len(self.turns))
        self.queue.wait(place, until_s, lambda turn: self.turns.append((name, turn, self.events.now_s)))


def test_the_nearest_deadline_is_woken_first() -> None:
    line = Line()
    for name, deadline_s in (("late", 9.0), ("soon", 3.0), ("middle", 6.0)):
        line.wait(name, deadline_s)
    assert line.queue.is_full
    line.queue.wake(2)
    line.events.run(1.0)
    assert [name for name, _, _ in line.turns] == ["soon", "middle"]
    assert len(line.queue) == 1


def test_who_has_waited_long_enough_leaves_without_a_turn() -> None:
    line = Line()
    line.wait("patient", 9.0)
    line.wait("hasty", 1.0, until_s=2.0)
    line.events.run(5.0)
    assert line.turns == [("hasty", False, 2.0)]
    assert line.queue.would_lead(Place(8.0, 0, 0))
    assert not line.queue.would_lead(Place(10.0, 0, 0))


def test_the_first_one_tries_at_intervals_while_anybody_waits() -> None:
    line = Line(tick_s=0.25)
    line.wait("only", 9.0)
    line.events.run()
    assert line.turns == [("only", True, 0.25)]
    assert len(line.events) == 0
