"""How answers end: stop strings, errors, clients that leave; and the log-probabilities of what was shown."""

import asyncio
from typing import Any

import pytest

from penstock.core.errors import InternalError, NoWorkers, Overloaded, WorkerLost
from penstock.core.types import FinishReason, Request
from tests.gateway_fakes import (
    MAX_CONTEXT_TOKENS,
    Client,
    FakeDispatcher,
    chat,
    make_service,
    tokens_of,
)

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TEXT = "Größe 🙂 and a wheel turns"


def client_saying(text: str = TEXT, **how: Any) -> tuple[Client, FakeDispatcher]:
    dispatcher = FakeDispatcher(text, **how)
    return Client(make_service(dispatcher)), dispatcher


def only_request(dispatcher: FakeDispatcher) -> Request:
    (request,) = dispatcher.requests
    return request


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        ("and", "Größe 🙂 "),
        (["xyz", "whe"], "Größe 🙂 and a "),
        (["nothing of it"], TEXT),
        (["ße"], "Grö"),
        ("🙂", "Größe "),
    ],
)
async def test_a_stop_string_cuts_the_text_exactly_and_stops_the_work(stop: Any, shown: str, stream: bool) -> None:
    client, dispatcher = client_saying(finish=FinishReason.LENGTH)
    response = await client.post(CHAT, chat(stop=stop, stream=stream))
    if stream:
        deltas = [chunk["choices"][0] for chunk in response.events[:-1]]
        assert "".join(delta["delta"].get("content", "") for delta in deltas) == shown
        reason = deltas[-1]["finish_reason"]
    else:
        assert response.json["choices"][0]["message"]["content"] == shown
        reason = response.json["choices"][0]["finish_reason"]
    assert reason == ("length" if shown == TEXT else "stop")
    assert bool(dispatcher.cancelled_ids) == (shown != TEXT)
    assert dispatcher.generations[0].finish_reason == reason


async def test_what_is_counted_does_not_depend_on_how_tokens_arrive_together() -> None:
    counted = []
    for is_manual in (True, False):
        client, dispatcher = client_saying("one two END three four", is_manual=is_manual)
        answering = asyncio.create_task(client.post(CHAT, chat(stop="END", logprobs=True)))
        if is_manual:
            while not dispatcher.generations:
                await asyncio.sleep(0)
            for position, token in enumerate(tokens_of("one two END three four", 0)):
                dispatcher.generations[0].deliver(position, token)
            dispatcher.generations[0].finish(FinishReason.STOP)
        counted.append((await answering).json)
    assert counted[0]["usage"] == counted[1]["usage"]
    assert counted[0]["choices"] == counted[1]["choices"]
    assert counted[0]["choices"][0]["message"]["content"] == "one two "


async def test_stop_strings_wait_for_min_tokens() -> None:
    client, _ = client_saying("a b a b a b")
    num_tokens = len(tokens_of("a b a"))
    response = await client.post(CHAT, chat(stop="b", min_tokens=num_tokens))
    assert response.json["choices"][0]["message"]["content"] == "a b a "


async def test_chat_logprobs_name_every_shown_token_with_its_bytes() -> None:
    client, _ = client_saying("🙂 END", finish=FinishReason.LENGTH)
    response = await client.post(CHAT, chat(logprobs=True, top_logprobs=2, stop=" END"))
    entries = response.json["choices"][0]["logprobs"]["content"]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == "🙂"
    assert all(entry["logprob"] == -0.5 and len(entry["top_logprobs"]) == 2 for entry in entries)
    assert entries[0]["top_logprobs"][0]["bytes"] == entries[0]["bytes"]


@pytest.mark.parametrize("stop", [None, "never said"])
async def test_streamed_logprobs_are_those_of_the_whole_answer(stop: str | None) -> None:
    client, _ = client_saying()
    options = {"logprobs": True, "top_logprobs": 1, "stop": stop}
    whole = (await client.post(CHAT, chat(**options))).json["choices"][0]["logprobs"]["content"]
    chunks = (await client.post(CHAT, chat(**options, stream=True))).events[:-1]
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for logprobs in streamed if logprobs for entry in logprobs["content"]] == whole
    assert len(whole) == len(tokens_of(TEXT))


async def test_completion_logprobs_are_parallel_lists_with_offsets() -> None:
    client, _ = client_saying("The quick brown")
    response = await client.post(COMPLETIONS, {"prompt": "x", "logprobs": 2, "max_tokens": 50})
    choice = response.json["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"] == "The quick brown"
    ends = [offset + len(token) for offset, token in zip(logprobs["text_offset"], logprobs["tokens"], strict=True)]
    assert [0, *ends[:-1]] == logprobs["text_offset"]
    assert all(token in top for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True))


async def test_an_unnamed_limit_is_cut_to_what_the_context_leaves() -> None:
    client, dispatcher = client_saying()
    await client.post(COMPLETIONS, {"prompt": [5] * (MAX_CONTEXT_TOKENS - 4)})
    assert only_request(dispatcher).sampling.max_tokens == 4


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Overloaded("Busy.", retry_after_s=2.3), 429, "rate_limit_error"),
        (NoWorkers("Nobody."), 503, "server_error"),
        (InternalError("Oh."), 500, "server_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_token_keeps_its_status(
    error: Any, status: int, kind: str, stream: bool
) -> None:
    client, _ = client_saying("", error=error)
    response = await client.post(CHAT, chat(stream=stream))
    assert response.status == status
    assert response.error == {"message": error.message, "type": kind, "param": None, "code": error.code}
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


async def test_an_error_in_a_stream_is_its_last_event() -> None:
    client, _ = client_saying("Hello, wor", error=WorkerLost("Gone."))
    response = await client.post(CHAT, chat(stream=True))
    assert response.status == 200
    *chunks, last = response.events
    assert last["error"]["code"] == "worker_lost"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_one_failed_choice_fails_the_answer_and_stops_the_others() -> None:
    client, dispatcher = client_saying(is_manual=True)
    answering = asyncio.create_task(client.post(CHAT, chat(n=3)))
    while len(dispatcher.generations) < 3:
        await asyncio.sleep(0)
    dispatcher.generations[1].fail(WorkerLost("Gone."))
    assert (await answering).status == 503
    assert len(dispatcher.cancelled_ids) == 2


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_work_at_once(stream: bool, n: int) -> None:
    client, dispatcher = client_saying(is_manual=True)
    answering = asyncio.create_task(client.post(CHAT, chat(stream=stream, n=n)))
    while len(dispatcher.generations) < n:
        await asyncio.sleep(0)
    dispatcher.generations[0].deliver(0, tokens_of("a")[0])
    client.left.set()
    await answering
    assert len(dispatcher.cancelled_ids) == n
