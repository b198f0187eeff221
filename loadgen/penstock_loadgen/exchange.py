"""One request and its answer, read from the stream as it comes.

An answer is whole when the stream said [DONE] or gave a finish reason; anything less was cut off, whatever the status.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

_DATA = b"data:"
_DONE = b"[DONE]"

OK, CANCELLED, CONNECT, CUT, TIMEOUT = "", "cancelled", "connect", "cut", "timeout"
STREAM_ERROR, NO_STREAM = "stream_error", "no_stream"
"""Kinds of ends; a status other than 200 is the kind `http_STATUS`."""


class Exchange:
    """Filled in while it is under way; `done` resolves at its end, whatever that is."""

    __slots__ = (
        "body",
        "cancel_after_tokens",
        "done",
        "ended_s",
        "error",
        "event_times_s",
        "is_stream",
        "is_whole",
        "keeps_body",
        "keeps_text",
        "kind",
        "on_tokens",
        "pending",
        "retry_after_s",
        "sent_s",
        "status",
        "texts",
        "usage",
    )

    def __init__(self, *, keeps_body: bool = False, keeps_text: bool = False, cancel_after_tokens: int = 0) -> None:
        self.keeps_body = keeps_body  # of a whole answer; that of a failed one always is
        self.keeps_text = keeps_text
        self.cancel_after_tokens = cancel_after_tokens  # 0: read to the end
        self.on_tokens: Callable[[Exchange, int, float], None] | None = None
        self.sent_s = 0.0
        self.ended_s = 0.0
        self.status = 0
        self.kind = OK
        self.error = ""  # a sentence
        self.event_times_s: list[float] = []  # when each event arrived that had a piece of the answer in it
        self.usage: dict[str, Any] = {}
        self.texts: list[str] = []
        self.body = bytearray()
        self.retry_after_s: float | None = None
        self.is_stream = False
        self.is_whole = False
        self.pending = b""  # the beginning of a line whose end is yet to come
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_success(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def is_over(self) -> bool:
        """Whether it came to an end of its own; a wait for it that was cancelled cancels `done`."""
        return self.done.done() and not self.done.cancelled()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def read(self, data: bytes, received_s: float) -> None:
        """Some bytes of the answer's body."""
        if not self.is_stream or self.status != 200:
            self.body += data
            return
        *lines, self.pending = (self.pending + data).split(b"\n")
        num_before = len(self.event_times_s)
        for line in lines:
            if line.startswith(_DATA):
                self._on_event(line[len(_DATA) :].strip(), received_s)
        num_more = len(self.event_times_s) - num_before
        if num_more and self.on_tokens:
            self.on_tokens(self, num_more, received_s)

    def renew(self) -> None:
        """Back to the beginning: nothing of an answer has come."""
        if self.done.done():
            self.done = asyncio.get_running_loop().create_future()
            self.kind = self.error = OK

    def finish(self, kind: str, error: str, now_s: float) -> None:
        """It is over; only the first end counts."""
        if self.is_over:
            return
        self.kind, self.error, self.ended_s = self.kind or kind, self.error or error, now_s
        if not self.done.done():
            self.done.set_result(None)

    def end_of_message(self, now_s: float) -> None:
        """The last byte is there: was that all?"""
        if self.status != 200:
            self.finish(f"http_{self.status}", f"status {self.status}: {error_sentence(bytes(self.body))}", now_s)
        elif not self.is_stream:
            is_wanted = self.keeps_body
            self.finish(OK if is_wanted else NO_STREAM, "" if is_wanted else "the answer is no event stream", now_s)
        elif not self.is_whole:
            self.finish(CUT, "the stream ended before [DONE]", now_s)
        else:
            self.finish(OK, "", now_s)

    @property
    def has_enough(self) -> bool:
        """The client leaves now."""
        return bool(self.cancel_after_tokens) and len(self.event_times_s) >= self.cancel_after_tokens

    def _on_event(self, data: bytes, received_s: float) -> None:
        if data == _DONE:
            self.is_whole = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.kind, self.error = STREAM_ERROR, f"an event is no JSON: {data[:80]!r}"
            return
        if "error" in event:
            self.kind, self.error = STREAM_ERROR, f"error in the stream: {error_sentence(data)}"
            return
        for choice in event.get("choices") or ():
            self._on_choice(choice, received_s)
        if usage := event.get("usage"):
            self.usage = usage

    def _on_choice(self, choice: dict[str, Any], received_s: float) -> None:
        """The opening of a chat, half a character and the end bring no piece of the answer."""
        delta = choice.get("delta")
        if delta is None:
            text = choice.get("text")
        else:
            text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
            text = text or ("tool" if delta.get("tool_calls") else None)
        token_ids = choice.get("token_ids") or ()  # where `return_token_ids` was asked for: one each, text or not
        if text or token_ids:
            self.event_times_s += [received_s] * max(1, len(token_ids))
            if self.keeps_text:
                self.texts.append(text or "")
        if choice.get("finish_reason"):
            self.is_whole = True


def error_sentence(body: bytes) -> str:
    """What an error body says, in OpenAI's shape or any other."""
    try:
        error = orjson.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:200]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip() or "no reason given"
