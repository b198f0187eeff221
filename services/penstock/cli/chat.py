"""`penstock chat`: a conversation with the model in the terminal, streamed; or one answer to one message."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import typer

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json, require_success, unreachable
from penstock.core.errors import InternalError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

STALL_TIMEOUT_S = 120.0  # between two tokens; a queued request waits for its first one


@dataclass
class Conversation:
    """What has been said, and how the next answer is to be made."""

    model: str
    options: dict[str, Any]
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, client: httpx.Client, question: str) -> Iterator[str]:
        """Yield the answer as it comes. Question and answer become part of the conversation when it is complete."""
        asked = [*self.messages, {"role": "user", "content": question}]
        answer = ""
        for piece in stream(client, {"model": self.model, "messages": asked, "stream": True, **self.options}):
            answer += piece
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": answer}]


@app.command()
def chat(
    message: Annotated[str, typer.Argument(help="ask only this; without it, a conversation")] = "",
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    system: Annotated[str, typer.Option(help="what the model is told first")] = "",
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token", min=0)] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="longest answer", min=1)] = 512,
) -> None:
    """Talk to the model. Ctrl-C ends an answer, Ctrl-D the conversation."""
    with connect(url, api_key) as client:
        model = get_json(client, "/v1/models")["data"][0]["id"]
        conversation = Conversation(model, {"temperature": temperature, "max_tokens": max_tokens})
        if system:
            conversation.messages.append({"role": "system", "content": system})
        if message:
            _print_answer(conversation.ask(client, message))
        else:
            _converse(client, conversation)


def main(argv: list[str]) -> int:
    """Run `penstock chat`."""
    app(argv, prog_name="penstock chat")
    return 0


def stream(client: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    """Send one chat request and yield the text of its answer as it arrives."""
    timeout = httpx.Timeout(STALL_TIMEOUT_S, connect=5.0)
    try:
        with client.stream("POST", "/v1/chat/completions", json=body, timeout=timeout) as response:
            if not response.is_success:
                response.read()
            require_success(response)
            yield from _pieces(response.iter_lines())
    except httpx.HTTPError as error:
        raise unreachable(client, error) from error


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """The text in a stream of server-sent events; an error in it, or its end before [DONE], is raised."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise InternalError(f"The answer broke off: {event['error']['message']}")
        for choice in event["choices"]:
            if text := choice["delta"].get("content"):
                yield text
    raise InternalError("The answer broke off: the stream ended early")


def _print_answer(pieces: Iterator[str]) -> None:
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    finally:
        print()


def _converse(client: httpx.Client, conversation: Conversation) -> None:
    print(f"{conversation.model} at {client.base_url}. Ctrl-C ends an answer, Ctrl-D the conversation.")
    while True:
        try:
            question = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not question.strip():
            continue
        try:
            _print_answer(conversation.ask(client, question))
        except KeyboardInterrupt:
            print("(stopped; this exchange is not remembered)")
        except InternalError as error:  # the conversation goes on: the next question may be answered
            print(error.message)
