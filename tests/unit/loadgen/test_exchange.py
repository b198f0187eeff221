"""Server-sent events as they arrive, in pieces of any size."""

import asyncio
from collections.abc import Iterator

import pytest

from penstock_loadgen.exchange import CUT, NO_STREAM, OK, STREAM_ERROR, Exchange

ROLE = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
WORD = b'data: {"choices": [{"index": 0, "delta": {"content": "word"}}], "usage": null}\n\n'
END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """One whose head has been read."""
    loop = asyncio.new_event_loop()

    async def make() -> Exchange:
        return Exchange(keeps_text=True)

    made = loop.run_until_complete(make())
    made.status, made.is_stream = 200, True
    yield made
    loop.close()


def test_only_events_with_a_piece_of_the_answer_count(exchange: Exchange) -> None:
    for at_s, data in enumerate((ROLE, WORD, WORD + WORD, END + USAGE + DONE)):
        exchange.read(data, float(at_s))
    exchange.end_of_message(4.0)
    assert exchange.event_times_s == [1.0, 2.0, 2.0]
    assert exchange.usage["completion_tokens"] == 3
    assert exchange.text == "wordwordword"
    assert (exchange.kind, exchange.error, exchange.ended_s) == (OK, "", 4.0)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_pieces_may_begin_and_end_anywhere(exchange: Exchange, size: int) -> None:
    data = ROLE + WORD * 3 + END + USAGE + DONE
    for at in range(0, len(data), size):
        exchange.read(data[at : at + size], 1.0)
    exchange.end_of_message(2.0)
    assert len(exchange.event_times_s) == 3
    assert exchange.is_success


def test_other_shapes_of_answers_are_read_too(exchange: Exchange) -> None:
    exchange.read(b': ping\r\ndata:{"choices":[{"text":"a"}]}\r\n\r\n', 1.0)
    exchange.read(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n', 2.0)
    exchange.read(b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n' + DONE, 3.0)
    exchange.end_of_message(3.0)
    assert exchange.event_times_s == [1.0, 2.0, 3.0]
    assert exchange.is_success


def test_tokens_that_are_shown_by_their_ids_count_one_by_one_with_text_or_without(exchange: Exchange) -> None:
    exchange.read(b'data: {"prompt_token_ids": [1, 2], "choices": [{"text": "", "prompt_token_ids": [1, 2]}]}\n\n', 1.0)
    exchange.read(b'data: {"choices": [{"text": "", "token_ids": [7]}]}\n\n', 2.0)
    exchange.read(b'data: {"choices": [{"text": "ab", "token_ids": [8, 9]}]}\n\n' + DONE, 3.0)
    exchange.end_of_message(3.0)
    assert exchange.event_times_s == [2.0, 3.0, 3.0]
    assert exchange.text == "ab"


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (WORD, CUT, "before"),
        (WORD + b'data: {"error": {"message": "worker lost"}}\n\n' + DONE, STREAM_ERROR, "worker lost"),
        (b"data: {nonsense\n\n" + DONE, STREAM_ERROR, "JSON"),
    ],
)
def test_a_stream_that_is_not_whole_has_failed(exchange: Exchange, data: bytes, kind: str, words: str) -> None:
    exchange.read(data, 1.0)
    exchange.end_of_message(2.0)
    assert exchange.kind == kind
    assert words in exchange.error
    assert not exchange.is_success


def test_an_answer_of_another_type_is_no_stream(exchange: Exchange) -> None:
    exchange.is_stream = False
    exchange.read(b"<html>", 1.0)
    exchange.end_of_message(2.0)
    assert exchange.kind == NO_STREAM


def test_a_refusal_says_why(exchange: Exchange) -> None:
    exchange.status = 429
    exchange.read(b'{"error": {"message": "too many"}}', 1.0)
    exchange.end_of_message(2.0)
    assert (exchange.kind, exchange.error) == ("http_429", "status 429: too many")


def test_a_client_that_gives_up_has_had_enough_after_so_many_tokens(exchange: Exchange) -> None:
    exchange.cancel_after_tokens = 2
    exchange.read(ROLE + WORD, 1.0)
    assert not exchange.has_enough
    exchange.read(WORD, 2.0)
    assert exchange.has_enough
