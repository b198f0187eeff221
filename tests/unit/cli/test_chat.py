"""Chatting: what is sent, what is read, what goes wrong."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from penstock.cli.chat import Conversation
from penstock.cli.gateway_client import connect
from penstock.core.errors import PenstockError

Answer = Callable[[httpx.Request], httpx.Response]


def events(*contents: str, end: str = "data: [DONE]\n\n") -> httpx.Response:
    chunks = [json.dumps({"choices": [{"delta": {"content": content}}]}) for content in contents]
    return httpx.Response(200, text="".join(f"data: {chunk}\n\n" for chunk in chunks) + end)


def client_of(answer: Answer) -> httpx.Client:
    return connect("http://gateway", "key", transport=httpx.MockTransport(answer))


def ask(conversation: Conversation, question: str, answer: Answer) -> str:
    with client_of(answer) as client:
        return "".join(conversation.ask(client, question))


def test_the_answer_is_streamed_and_remembered() -> None:
    bodies: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer key"
        bodies.append(json.loads(request.content))
        return events("Hel", "lo", "")

    conversation = Conversation("tiny", {"temperature": 0.0})
    assert ask(conversation, "Hi", answer) == "Hello"
    assert ask(conversation, "Again", answer) == "Hello"
    assert bodies[0] == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "temperature": 0.0,
    }
    assert [message["content"] for message in bodies[1]["messages"]] == ["Hi", "Hello", "Again"]  # type: ignore[attr-defined]


def fails_to_connect(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (fails_to_connect, "Nothing answers at http://gateway"),
        (lambda _: httpx.Response(429, json={"error": {"message": "Try again later."}}), "429: Try again later."),
        (lambda _: httpx.Response(502, text="<html>"), "502: Bad Gateway"),
        (lambda _: events("He", end='data: {"error": {"message": "worker lost"}}\n\n'), "broke off: worker lost"),
        (lambda _: events("He", end=""), "the stream ended early"),
    ],
)
def test_a_failure_is_a_sentence_and_is_not_remembered(answer: Answer, sentence: str) -> None:
    conversation = Conversation("tiny", {})
    with pytest.raises(PenstockError) as caught:
        ask(conversation, "Hi", answer)
    assert sentence in caught.value.message
    assert conversation.messages == []


def test_pictures_go_with_the_first_question_and_stay_in_the_conversation(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")
    contents: list[list[object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        contents.append([message["content"] for message in json.loads(request.content)["messages"]])
        return events("Red.")

    conversation = Conversation("tiny", {}, images=[picture])
    ask(conversation, "Which colour?", answer)
    ask(conversation, "Sure?", answer)
    url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    seen = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Which colour?"}]
    assert contents == [[seen], [seen, "Red.", "Sure?"]]
