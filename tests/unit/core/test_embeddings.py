"""Pages of embeddings: who holds them, who shares them, and how far a prompt may run without them."""

import pytest

from penstock.core.embeddings import PAGE_TOKENS, EmbeddingBook, find_ready_tokens
from penstock.core.errors import BlocksExhausted
from penstock.core.images import ImageSpan
from penstock.core.types import NO_LIMIT, Request, SamplingParams, Sequence

RED, BLUE = b"r" * 16, b"b" * 16


def sequence(*images: ImageSpan, num_tokens: int = 200, num_cached: int = 0) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams(), images=images)
    return Sequence(request, list(range(num_tokens)), 0.0, num_computed_tokens=num_cached, num_cached_tokens=num_cached)


def image(start: int, num_tokens: int = 40, content: bytes = RED) -> ImageSpan:
    return ImageSpan(start, num_tokens, content, (1, 4, num_tokens))


def test_a_prompt_runs_up_to_its_first_absent_image_in_whatever_order_they_arrive() -> None:
    book = EmbeddingBook(64)
    asked = sequence(image(10), image(60, content=BLUE))
    assert asked.num_ready_tokens == NO_LIMIT
    assert book.take(asked) == [0, 1]
    assert [len(pages) for pages in asked.image_block_ids] == [3, 3]
    assert (asked.num_ready_tokens, asked.num_runnable_tokens) == (10, 10)
    book.arrived(asked, 1)
    assert asked.num_ready_tokens == 10
    book.arrived(asked, 0)
    assert asked.num_ready_tokens == NO_LIMIT
    assert asked.num_runnable_tokens == asked.num_tokens


def test_an_image_seen_before_is_shared_and_not_wanted_again() -> None:
    book = EmbeddingBook(64)
    first, second = sequence(image(10)), sequence(image(30), image(100, content=BLUE))
    book.take(first)
    book.arrived(first, 0)
    assert book.take(second) == [1]
    assert second.image_block_ids[0] == first.image_block_ids[0]
    assert second.num_ready_tokens == 100
    book.release(first)
    book.release(second)
    assert book.pool.num_referenced == 0
    assert book.take(sequence(image(0))) == []


def test_an_image_on_its_way_to_another_is_not_shared_yet() -> None:
    book = EmbeddingBook(64)
    first, second = sequence(image(10)), sequence(image(10))
    assert book.take(first) == book.take(second) == [0]
    assert not set(first.image_block_ids[0]) & set(second.image_block_ids[0])
    book.arrived(first, 0)
    book.arrived(second, 0)
    book.release(first)
    book.release(second)
    assert book.pool.num_referenced == 0


def test_what_the_prefix_cache_has_is_not_wanted() -> None:
    book = EmbeddingBook(64)
    asked = sequence(image(10), image(60, content=BLUE), num_cached=64)
    assert book.take(asked) == [1]
    assert asked.image_block_ids[0] == []
    assert asked.num_ready_tokens == 60
    assert asked.num_runnable_tokens < 0  # the prefix ends inside the second image
    assert not asked.is_runnable
    book.arrived(asked, 1)
    assert asked.num_runnable_tokens == 200 - 64


def test_a_prefix_that_is_lost_makes_its_images_needed_again() -> None:
    book = EmbeddingBook(64)
    asked = sequence(image(10), num_cached=64)
    book.take(asked)
    assert asked.num_ready_tokens == NO_LIMIT
    asked.num_computed_tokens = 0
    find_ready_tokens(asked)
    assert asked.num_ready_tokens == 10


def test_a_full_pool_refuses_and_takes_nothing() -> None:
    book = EmbeddingBook(4)
    asked = sequence(image(10), image(60, content=BLUE))
    with pytest.raises(BlocksExhausted):
        book.take(asked)
    assert book.pool.num_referenced == 0
    assert book.take(sequence(image(0, 4 * PAGE_TOKENS))) == [0]


def test_pages_are_given_back_once() -> None:
    book = EmbeddingBook(64)
    asked = sequence(image(10))
    book.take(asked)
    book.release(asked)
    book.release(asked)
    assert book.pool.num_free == 64


def test_an_image_of_which_a_page_was_evicted_is_wanted_whole() -> None:
    book = EmbeddingBook(4)
    red = sequence(image(0, 3 * PAGE_TOKENS))
    book.take(red)
    book.arrived(red, 0)
    book.release(red)
    blue = sequence(image(0, 2 * PAGE_TOKENS, BLUE))
    book.take(blue)
    book.arrived(blue, 0)
    book.release(blue)
    assert book.take(sequence(image(0, 3 * PAGE_TOKENS))) == [0]


def test_pages_that_are_being_written_outlive_the_sequence() -> None:
    book = EmbeddingBook(4)
    asked, recalls = sequence(image(10)), list[int]()
    book.take(asked)
    loan = book.lend(asked, 0, lambda: recalls.append(0))
    assert (loan.pages, loan.is_recalled) == (asked.image_block_ids[0], False)
    book.release(asked)
    book.release(asked)
    assert (recalls, loan.is_recalled) == ([0], True)
    assert (book.pool.num_referenced, book.num_recalled_pages) == (3, 3)
    book.give_back(loan)
    assert (book.pool.num_referenced, book.num_recalled_pages) == (0, 0)


def test_pages_that_were_written_in_time_are_the_sequences() -> None:
    book = EmbeddingBook(4)
    asked, recalls = sequence(image(10)), list[int]()
    book.take(asked)
    book.give_back(book.lend(asked, 0, lambda: recalls.append(0)))
    book.arrived(asked, 0)
    book.release(asked)
    assert (recalls, book.pool.num_referenced) == ([], 0)


def test_whoever_brings_an_image_again_writes_to_other_pages() -> None:
    book = EmbeddingBook(6)
    asked, recalls = sequence(image(10)), list[str]()
    book.take(asked)
    hung = book.lend(asked, 0, lambda: recalls.append("hung"))
    other = book.lend(asked, 0, lambda: recalls.append("other"))
    assert recalls == ["hung"]
    assert asked.image_block_ids[0] == other.pages
    assert not set(hung.pages) & set(other.pages)
    book.give_back(other)
    book.arrived(asked, 0)
    assert book.pool.num_referenced == 6
    book.give_back(hung)
    book.release(asked)
    assert (recalls, book.pool.num_referenced) == (["hung"], 0)


def test_without_other_pages_the_first_writer_keeps_his() -> None:
    book = EmbeddingBook(5)
    asked, recalls = sequence(image(10)), list[str]()
    book.take(asked)
    loan = book.lend(asked, 0, lambda: recalls.append("hung"))
    with pytest.raises(BlocksExhausted):
        book.lend(asked, 0, lambda: recalls.append("other"))
    assert (recalls, loan.is_recalled, loan.pages) == ([], False, asked.image_block_ids[0])
