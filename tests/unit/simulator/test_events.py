"""Virtual time: order, and nothing else."""

from functools import partial

from penstock.simulator.events import EventQueue


def test_events_happen_in_order_of_time_and_then_of_scheduling() -> None:
    events = EventQueue()
    seen: list[str] = []
    for name, time_s in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
        events.at(time_s, partial(seen.append, name))
    events.run()
    assert seen == ["a", "b", "c"]
    assert events.now_s == 2.0


def test_what_is_scheduled_for_the_past_happens_now() -> None:
    events, seen = EventQueue(), []
    events.at(1.0, lambda: events.at(0.5, lambda: seen.append(events.now_s)))
    events.run()
    assert seen == [1.0]


def test_a_run_can_be_ended_in_between_and_continued() -> None:
    events = EventQueue()
    seen: list[int] = []
    events.after(1.0, partial(seen.append, 1))
    events.after(3.0, partial(seen.append, 3))
    events.run(until_s=2.0)
    assert (seen, len(events)) == ([1], 1)
    events.run()
    assert seen == [1, 3]
