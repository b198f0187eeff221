"""Server-sent events of one streamed answer. All but the text is rendered once per choice, not once per token.

Tokens that arrive together make one event. They do so only when the client, or this process, has fallen behind a
step, so a client that keeps up sees each token alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

DONE = b"data: [DONE]\n\n"
_BEGIN = b"data: "
_END = b"\n\n"


class EventFrame(NamedTuple):
    """What all events of an answer share."""

    answer_id: str
    object_name: str
    created_s: int
    model: str
    has_usage: bool  # then every event but the last says "usage": null

    def event(self, choices: Sequence[dict[str, Any]], **more: object) -> bytes:
        """Any event, rendered in full."""
        chunk: dict[str, Any] = {
            "id": self.answer_id,
            "object": self.object_name,
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        }
        if self.has_usage:
            chunk["usage"] = None
        return _BEGIN + orjson.dumps(chunk | more) + _END


class ChoiceEvents:
    """The events of one choice; chat wraps its text as a delta, completions have it bare."""

    def __init__(self, frame: EventFrame, index: int, is_chat: bool) -> None:
        self._frame = frame
        self._index = index
        self._is_chat = is_chat
        mark = "\x00"  # where the text goes; it cannot occur in JSON, which escapes it
        rendered = frame.event([self._choice(mark)])
        self._before_text, self._after_text = rendered.split(orjson.dumps(mark))

    def _choice(self, text: str | None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
        delta = {} if text is None else {"content": text}
        content: dict[str, Any] = {"delta": delta} if self._is_chat else {"text": text or ""}
        return {"index": self._index, **content, "logprobs": None, "finish_reason": finish_reason, **more}

    def opening(self, **more: Any) -> bytes:
        """A chat begins by saying who speaks."""
        if self._is_chat:
            choice = {**self._choice(""), "delta": {"role": "assistant", "content": ""}}
            return self._frame.event([choice], **more)
        return self._frame.event([self._choice("", **more)]) if more else b""

    def text(self, text: str) -> bytes:
        """The event of nearly every token."""
        return self._before_text + orjson.dumps(text) + self._after_text

    def detailed(self, text: str, **more: Any) -> bytes:
        """Text with log-probabilities or token ids."""
        return self._frame.event([self._choice(text, **more)])

    def closing(self, finish_reason: str) -> bytes:
        """Why it ended."""
        return self._frame.event([self._choice(None, finish_reason)])
