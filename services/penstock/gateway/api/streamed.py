"""Answers sent token by token.

Life of a request: step 9's hot path. One arrival of tokens costs one event and one `send`.
"""

from typing import Any

from penstock.gateway.api.answer import Answer
from penstock.gateway.api.choice import ChoiceReader, Delta
from penstock.gateway.api.events import DONE, ChoiceEvents, EventFrame
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.logprobs import chat_logprobs, completion_logprobs
from penstock.gateway.api.service import ServedModel


class StreamedAnswer:
    """Writes the events of every choice as they come, then usage if asked for, then [DONE]."""

    def __init__(self, exchange: Exchange, answer: Answer, model: ServedModel, is_chat: bool) -> None:
        self._exchange = exchange
        self._answer = answer
        self._is_chat = is_chat
        self._token_bytes = model.tokenizer.token_bytes
        self._has_logprobs = answer.asked.sampling.num_logprobs is not None
        self._has_token_ids = answer.asked.body.return_token_ids
        object_name = "chat.completion.chunk" if is_chat else "text_completion"
        self._frame = EventFrame(
            answer.answer_id, object_name, answer.created_s, model.name, answer.asked.body.includes_usage
        )

    async def send(self) -> None:
        """Stream to the end. Until the first token nothing is sent, so an early error still has its own status."""
        await self._answer.consume(self._exchange, self._stream_choice)
        data = self._frame.event([], usage=self._answer.usage()) if self._frame.has_usage else b""
        await self._exchange.end_stream(data + DONE)

    async def _stream_choice(self, reader: ChoiceReader) -> None:
        events = ChoiceEvents(self._frame, reader.choice.index, self._is_chat)
        write, is_plain = self._exchange.write, not (self._has_logprobs or self._has_token_ids)
        delta = await reader.next_delta()
        data = self._opening(events, reader.choice.index)
        while delta.finish_reason is None:
            if is_plain:
                if delta.text:  # half a character, or what may begin a stop string, says nothing yet
                    data += events.text(delta.text)
            else:
                data += self._detailed(events, delta)
            if data:
                await write(data)
                data = b""
            delta = await reader.next_delta()
        if delta.text or not is_plain:
            data += events.text(delta.text) if is_plain else self._detailed(events, delta)
        await write(data + events.closing(delta.finish_reason.value))

    def _opening(self, events: ChoiceEvents, index: int) -> bytes:
        if not self._has_token_ids:
            return events.opening()
        asked = self._answer.asked
        return events.opening(prompt_token_ids=list(asked.prompts[index // asked.body.n]))

    def _detailed(self, events: ChoiceEvents, delta: Delta) -> bytes:
        if not (delta.text or delta.shown or self._has_token_ids):
            return b""
        more: dict[str, Any] = {}
        if self._has_logprobs and delta.shown:
            render = chat_logprobs if self._is_chat else completion_logprobs
            more["logprobs"] = render(delta.shown, self._token_bytes)
        if self._has_token_ids:
            more["token_ids"] = delta.token_ids
        return events.detailed(delta.text, **more)
