"""The book of sequences with images: pages come with blocks and go with them; who cannot run again is handed back."""

from collections.abc import Sequence as SequenceOf

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.embeddings import EmbeddingBook, wanted_images
from penstock.core.errors import BlocksExhausted, UnsupportedModel
from penstock.core.images import ImageSpan, hashed_token_ids
from penstock.core.sequence_prefix import enter_full_blocks
from penstock.core.sequences import SequenceBook
from penstock.core.types import NO_LIMIT, Request, SamplingParams, ScheduledSequence, Sequence
from tests.unit.engine.mock_engine import FakeOwner
from tests.unit.engine.sequence_book import make_book

RED, BLUE = ImageSpan(8, 32, b"r" * 16, (1, 4, 32)), ImageSpan(50, 20, b"b" * 16, (1, 4, 20))


def seeing_book(num_pages: int = 8) -> SequenceBook:
    book = make_book()
    book.embeddings = EmbeddingBook(num_pages)
    return book


def make_request(images: SequenceOf[ImageSpan], num_tokens: int = 80, handle: int = 0) -> Request:
    prompt = list(range(num_tokens))
    hashes = hash_blocks(hashed_token_ids(prompt, images))
    return Request(f"r{handle}", 0, "gateway", handle, prompt, SamplingParams(), images=images, block_hashes=hashes)


def accept(book: SequenceBook, *images: ImageSpan, handle: int = 0) -> Sequence:
    return book.accept(make_request(images, handle=handle), FakeOwner(), is_prefill_only=False)


def compute(book: SequenceBook, sequence: Sequence) -> None:
    item = ScheduledSequence(sequence, sequence.num_computed_tokens, sequence.num_runnable_tokens)
    book.begin_step([item])
    sequence.num_computed_tokens = item.end
    enter_full_blocks(sequence, book.pool)
    book.end_step([item])


def num_pages_held(book: SequenceBook) -> int:
    assert book.embeddings is not None
    return book.embeddings.pool.num_referenced


def test_pages_are_held_until_the_sequence_is_released() -> None:
    book = seeing_book()
    sequence = accept(book, RED, BLUE)
    assert wanted_images(sequence) == [0, 1]
    assert num_pages_held(book) == 4
    item = ScheduledSequence(sequence, 0, 8)
    book.begin_step([item])
    book.release(sequence)
    assert num_pages_held(book) == 4  # the step may read them
    book.end_step([item])
    assert num_pages_held(book) == 0


def test_a_refusal_for_want_of_pages_leaves_no_trace() -> None:
    book = seeing_book(num_pages=3)
    with pytest.raises(BlocksExhausted):
        accept(book, RED, BLUE)
    assert (num_pages_held(book), book.pool.num_referenced, len(book.owners)) == (0, 0, 0)
    accept(book, RED)


def test_a_model_without_vision_takes_no_images_but_any_text() -> None:
    book = make_book()
    with pytest.raises(UnsupportedModel):
        accept(book, RED)
    assert (book.pool.num_referenced, len(book.owners)) == (0, 0)
    assert accept(book).num_ready_tokens == NO_LIMIT


def test_an_arrival_lets_a_sequence_run_and_says_that_there_is_work() -> None:
    book = seeing_book()
    sequence = accept(book, RED, BLUE)
    news: list[int] = []
    book.on_work = lambda: news.append(sequence.num_ready_tokens)
    book.arrived(sequence, 0)
    book.arrived(sequence, 1)
    assert news == [50, NO_LIMIT]


def test_a_preempted_sequence_keeps_its_embeddings() -> None:
    book = seeing_book()
    sequence = accept(book, RED)
    book.arrived(sequence, 0)
    compute(book, sequence)
    book.preempt(sequence)
    assert num_pages_held(book) == 2
    book.readmit()
    assert list(book.waiting) == [sequence]
    assert sequence.is_runnable


def test_a_sequence_whose_kv_came_from_elsewhere_is_not_computed_again_here() -> None:
    book = seeing_book()
    stranded: list[Sequence] = []
    book.on_stranded = stranded.append
    sequence = Sequence(make_request([RED]), list(range(80)), 0.0)
    book.reserve(sequence, FakeOwner(), 79)
    book.join(sequence)
    text = Sequence(make_request([], handle=1), list(range(100, 180)), 0.0)
    book.reserve(text, FakeOwner(), 79)
    book.join(text)
    book.preempt(text)
    assert stranded == []
    book.preempt(sequence)
    assert stranded == [sequence]


def test_nor_is_one_whose_images_were_in_the_prefix_cache() -> None:
    book = seeing_book()
    first = accept(book, RED)
    book.arrived(first, 0)
    compute(book, first)
    second = accept(book, RED, handle=1)
    assert wanted_images(second) == []
    assert second.num_ready_tokens == NO_LIMIT
    compute(book, second)
    book.preempt(second)
    assert second not in book.owners  # nobody else wants to know: it is forgotten
    assert book.pool.num_referenced == len(first.block_ids)


def test_hashes_of_generated_tokens_go_on_from_an_image_that_ends_the_last_full_block() -> None:
    book = seeing_book()
    tail = ImageSpan(66, 12, b"t" * 16, (1, 4, 12))
    prompt, output = list(range(80)), list(range(900, 920))
    request = make_request([tail], num_tokens=79)
    sequence = book.accept(request, FakeOwner(), is_prefill_only=False)
    assert len(sequence.block_hashes) == 4
    book.arrived(sequence, 0)
    sequence.token_ids = [*prompt, *output]
    sequence.block_ids += book.pool.allocate(2) or []
    sequence.num_computed_tokens = 100
    enter_full_blocks(sequence, book.pool)
    assert sequence.block_hashes == hash_blocks(hashed_token_ids([*prompt, *output], [tail]))
