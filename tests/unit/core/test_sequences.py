"""The book of sequences: who may come, what each holds, who is told of room."""

import pytest

from penstock.core.blocks import BlockPool, hash_blocks
from penstock.core.errors import BlocksExhausted, Draining, QueueFull
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.sequences import SequenceBook
from penstock.core.types import ScheduledSequence
from tests.unit.engine.mock_engine import FakeOwner, make_request
from tests.unit.engine.sequence_book import accept, held, make_book, step


class Counter:
    num_calls = 0

    def __call__(self) -> None:
        self.num_calls += 1


def test_an_accepted_sequence_has_blocks_for_all_it_knows() -> None:
    book = make_book()
    sequence = accept(book)
    assert (sequence.block_ids, sequence.arrived_s) == ([0, 1, 2], 5.0)
    assert book.load.num_sequences == 1
    assert book.num_pending_tokens == 40
    assert book.num_waiting == 1


@pytest.mark.parametrize(
    ("num_accepted", "is_draining", "num_tokens", "refusal"),
    [
        (0, True, 5, Draining),
        (8, False, 5, QueueFull),
        (1, False, 16 * 16, BlocksExhausted),
        (1, False, 999, QueueFull),
    ],
)
def test_refuses_without_a_trace(num_accepted: int, is_draining: bool, num_tokens: int, refusal: type) -> None:
    book = make_book()
    for handle in range(num_accepted):
        accept(book, 5, handle)
    book.is_draining = is_draining
    num_free = book.pool.num_free
    with pytest.raises(refusal):
        accept(book, num_tokens, 99)
    with pytest.raises((Draining, QueueFull, BlocksExhausted)):
        book.reserve(held(17 * 16), FakeOwner(), 17 * 16)
    assert book.pool.num_free == num_free
    assert len(book.owners) == num_accepted


def test_a_joined_sequence_makes_its_blocks_known_and_runs_its_last_token() -> None:
    book = make_book()
    sequence = held(40)
    book.reserve(sequence, FakeOwner(), 40)
    assert not book.running
    sequence.token_ids = [*range(40), 7]
    book.join(sequence)
    assert sequence.num_tokens_to_run == 1
    assert sequence in book.running
    assert set(book.pool.known_hashes()) == set(hash_blocks(range(40)))
    book.release(sequence)
    assert book.pool.num_referenced == 0


def test_blocks_of_a_chain_that_never_began_stay_unknown() -> None:
    """Without the gateway's hashes nobody knows the salt: the tenant's prefix must not be found by another."""
    book = make_book()
    request = make_request(range(5))  # too short for a hash
    sequence = book.accept(request, FakeOwner(), is_prefill_only=False)
    sequence.token_ids += range(100, 140)
    step(book, sequence)
    assert book.pool.num_cached == 0


@pytest.mark.parametrize("block_size", [16, 32, 64])
def test_the_chain_goes_on_over_generated_tokens(block_size: int) -> None:
    book = make_book(block_size=block_size)
    sequence = accept(book, 40)
    sequence.token_ids += range(40, 150)
    step(book, sequence)
    chain = hash_blocks(range(150))
    per_block = block_size // 16
    num_full = 150 // block_size
    assert set(book.pool.known_hashes()) == {chain[(at + 1) * per_block - 1] for at in range(num_full)}


def test_a_preempted_sequence_holds_nothing_and_comes_back_first() -> None:
    book = make_book(num_blocks=6)
    old, young = accept(book, 40), accept(book, 40, 1)
    step(book, old)
    step(book, young)
    for sequence in (young, old):
        book.preempt(sequence)
        assert (sequence.block_ids, sequence.num_computed_tokens) == ([], 0)
    assert list(book.preempted) == [old, young]
    assert book.num_pending_tokens == 80
    assert book.load.num_free_blocks == 0  # owed to the two
    blocked = book.pool.allocate(3)
    assert blocked is not None
    book.readmit()
    assert (list(book.preempted), list(book.waiting)) == ([young], [old])
    assert old.num_cached_tokens == 32  # its own blocks, found again
    book.pool.release(blocked)
    newcomer_waits = list(book.waiting)
    book.readmit()
    assert list(book.waiting) == [young, *newcomer_waits]
    for sequence in (old, young):
        book.release(sequence)
    assert book.pool.num_referenced == 0


def test_preempted_sequences_leave_room_for_those_that_run_to_grow() -> None:
    book = make_book(num_blocks=6)
    old, young = accept(book, 48), accept(book, 48, 1)
    step(book, old)
    step(book, young)
    book.preempt(young)
    book.readmit()
    assert list(book.preempted) == [young]
    book.release(old)
    book.readmit()
    assert list(book.waiting) == [young]


def test_a_preempted_sequence_can_be_cancelled() -> None:
    book = make_book()
    sequence = accept(book)
    step(book, sequence)
    book.preempt(sequence)
    book.release(sequence)
    assert not book.preempted
    assert book.pool.num_referenced == 0


def test_a_release_is_counted_once() -> None:
    book = make_book()
    sequence = accept(book)
    items = [ScheduledSequence(sequence, 0, 40)]
    book.begin_step(items)
    book.release(sequence)
    book.release(sequence)
    assert book.pool.num_referenced == 3  # the step writes them
    book.end_step(items)
    book.release(sequence)
    assert book.pool.num_referenced == 0


def test_watchers_of_room_are_told_once_and_are_kept_once() -> None:
    """A gateway that is refused a thousand times while nothing leaves is one watcher."""
    book = make_book()
    sequence = accept(book)
    told, other = Counter(), Counter()
    for _ in range(1000):
        book.when_there_is_room("gateway", told)
    book.when_there_is_room("another", other)
    book.release(sequence)
    assert (told.num_calls, other.num_calls) == (1, 1)
    book.release(accept(book))
    assert (told.num_calls, other.num_calls) == (1, 1)


def test_a_watcher_may_ask_again_while_it_is_told() -> None:
    book = make_book()
    told = Counter()

    def again() -> None:
        told()
        book.when_there_is_room("gateway", again)

    book.when_there_is_room("gateway", again)
    book.release(accept(book))
    assert told.num_calls == 1


def test_a_preemption_is_no_room() -> None:
    book = make_book()
    sequence = accept(book)
    step(book, sequence)
    told = Counter()
    book.when_there_is_room("gateway", told)
    book.preempt(sequence)
    assert told.num_calls == 0


def test_freed_blocks_wake_those_that_wait_for_them() -> None:
    book = make_book()
    first = accept(book)
    accept(book, handle=1)
    woken = Counter()
    book.on_work = woken
    book.release(first)
    assert woken.num_calls == 1


def test_only_what_is_due_before_it_stands_in_a_newcomers_way() -> None:
    limits = AdmissionLimits(8, max_pending_tokens=1000, is_by_deadline=True)
    book = SequenceBook(BlockPool(1000, 16), limits, lambda: 5.0)

    def accept_due(deadline_s: float, handle: int) -> None:
        request = make_request(range(900), handle=handle, first_token_deadline_s=deadline_s)
        book.accept(request, FakeOwner(), is_prefill_only=True)

    accept_due(60.0, 1)
    accept_due(30.0, 2)
    with pytest.raises(QueueFull):
        accept_due(45.0, 3)
    accept_due(10.0, 4)
    assert book.num_pending_tokens == 2700
