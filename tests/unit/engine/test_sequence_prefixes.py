"""Sequences that share a prefix: what is found is taken, and only what is new is counted."""

import pytest

from penstock.core.errors import BlocksExhausted, QueueFull
from penstock.core.sequence_prefix import match_prefixes
from tests.unit.engine.mock_engine import FakeOwner
from tests.unit.engine.sequence_book import accept, held, make_book, step


def test_a_cached_prefix_is_taken_before_it_can_be_evicted_for_the_rest() -> None:
    book = make_book(num_blocks=4)
    first = accept(book, 40)
    step(book, first)
    book.release(first)
    second = accept(book, 64, 1)  # all four blocks: evicting would find the prefix itself
    assert second.num_cached_tokens == 32
    assert second.num_computed_tokens == 32


def test_only_what_a_shared_prefix_leaves_is_counted() -> None:
    book = make_book(num_blocks=9)
    first = accept(book, 100)  # 7 blocks, and one more is kept for it to grow
    step(book, first)
    second = accept(book, 100, 1)  # 6 of them are shared: 1 can be spared, and is enough
    assert (second.num_cached_tokens, book.pool.num_free) == (96, 1)
    with pytest.raises(BlocksExhausted, match="1 blocks are needed and 0"):
        accept(book, 100, 2)
    with pytest.raises(BlocksExhausted, match="1 blocks are needed and 0"):
        book.reserve(held(100, 3), FakeOwner(), 100)
    assert book.pool.num_free == 1
    book.reserve(held(96, 4), FakeOwner(), 96)  # no block at all


def test_cached_blocks_that_nobody_uses_are_promised_only_once() -> None:
    """They are free as long as nobody has them: a prefix found among them leaves fewer for the rest."""
    book = make_book(num_blocks=8)
    first = accept(book, 100)
    step(book, first)
    book.release(first)
    assert book.pool.num_free == 8
    with pytest.raises(BlocksExhausted, match="3 blocks are needed and 2"):
        accept(book, 9 * 16, 1)
    assert book.pool.num_free == 8
    assert accept(book, 8 * 16, 1).num_cached_tokens == 96


def test_tokens_found_in_the_prefix_cache_do_not_stand_in_line() -> None:
    book = make_book(num_blocks=200)
    first = accept(book, 900)
    step(book, first)
    accept(book, 1000, 1)
    assert book.num_pending_tokens == 104
    accept(book, 1500, 2)
    assert book.num_pending_tokens == 104 + 604
    with pytest.raises(QueueFull):
        accept(book, 1300, 3)


def test_a_prefix_that_is_computed_while_it_waits_is_found() -> None:
    book = make_book()
    first, second = accept(book), accept(book, handle=1)
    assert not set(first.block_ids) & set(second.block_ids)
    step(book, first)
    match_prefixes(book.waiting, book.waiting, book.pool, 1000)
    assert second.block_ids[:2] == first.block_ids[:2]
    assert second.num_cached_tokens == 32
    match_prefixes(book.waiting, book.waiting, book.pool, 1000)  # and again: nothing is taken twice
    book.release(first)
    book.release(second)
    assert book.pool.num_referenced == 0


def test_only_those_that_may_start_look_for_a_prefix() -> None:
    book = make_book()
    first, second = accept(book, 64), accept(book, 64, 1)
    step(book, first)
    third = accept(book, 10, 2)
    del book.waiting[second]
    book.waiting = {third: None, second: None}
    match_prefixes(book.waiting, book.waiting, book.pool, 10)
    assert second.num_cached_tokens == 0
    match_prefixes(book.waiting, book.waiting, book.pool, 11)
    assert second.num_cached_tokens == 48


def test_a_reservation_takes_what_the_cache_has_up_to_the_whole() -> None:
    book = make_book()
    first = accept(book, 48)
    step(book, first)
    for handle, (num_tokens, num_cached) in enumerate([(48, 48), (47, 32), (80, 48), (15, 0)]):
        sequence = held(num_tokens, handle)
        book.reserve(sequence, FakeOwner(), num_tokens)
        assert sequence.num_cached_tokens == num_cached
        assert len(sequence.block_ids) == -(-num_tokens // 16)
        assert sequence.block_ids[: num_cached // 16] == first.block_ids[: num_cached // 16]
        book.release(sequence)
    book.release(first)
    assert book.pool.num_referenced == 0
