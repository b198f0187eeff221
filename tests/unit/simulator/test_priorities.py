"""Priorities that change while requests run."""

from penstock.simulator.priorities import PriorityPattern
from tests.unit.engine.sequence_book import accept, make_book


def test_priorities_change_at_their_interval_and_are_the_same_in_every_run() -> None:
    drawn = []
    for _ in range(2):
        book, pattern = make_book(num_blocks=64), PriorityPattern(interval_steps=25, num_levels=4)
        sequences = [accept(book, 16, handle) for handle in range(6)]
        seen = []
        for num_steps in (0, 24, 25):
            pattern.shuffle(book, num_steps)
            seen.append([sequence.request.priority for sequence in sequences])
        drawn.append(seen)
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == drawn[0][1] != drawn[0][2]
    assert all(0 <= priority < 4 for seen in drawn[0] for priority in seen)


def test_without_an_interval_nothing_changes() -> None:
    book = make_book()
    sequence = accept(book)
    PriorityPattern().shuffle(book, 1000)
    assert sequence.request.priority == 0
