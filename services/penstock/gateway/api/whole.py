"""Answers sent at once, when every choice has ended."""

from dataclasses import dataclass, field
from typing import Any

from penstock.gateway.api.answer import Answer
from penstock.gateway.api.choice import ChoiceReader, ShownToken
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.logprobs import chat_logprobs, completion_logprobs
from penstock.gateway.api.service import ServedModel


@dataclass(slots=True)
class _Collected:
    """A choice's pieces, joined at its end."""

    texts: list[str] = field(default_factory=list)
    shown: list[ShownToken] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)


async def respond_whole(exchange: Exchange, answer: Answer, model: ServedModel, is_chat: bool) -> None:
    """Wait for all choices and send one JSON object."""
    collected = [_Collected() for _ in answer.readers]

    async def collect(reader: ChoiceReader) -> None:
        pieces = collected[reader.choice.index]
        while True:
            delta = await reader.next_delta()
            pieces.texts.append(delta.text)
            pieces.shown.extend(delta.shown)
            pieces.token_ids.extend(delta.token_ids)
            if delta.finish_reason is not None:
                return

    await answer.consume(exchange, collect)
    choices = [
        _choice(answer, reader, pieces, model, is_chat)
        for reader, pieces in zip(answer.readers, collected, strict=True)
    ]
    payload: dict[str, Any] = {
        "id": answer.answer_id,
        "object": "chat.completion" if is_chat else "text_completion",
        "created": answer.created_s,
        "model": model.name,
        "choices": choices,
        "usage": answer.usage(),
    }
    if is_chat and answer.asked.body.return_token_ids:
        payload["prompt_token_ids"] = list(answer.asked.prompts[0])
    await exchange.respond_json(payload)


def _choice(
    answer: Answer, reader: ChoiceReader, pieces: _Collected, model: ServedModel, is_chat: bool
) -> dict[str, Any]:
    asked, index = answer.asked, reader.choice.index
    text = "".join(pieces.texts)
    render = chat_logprobs if is_chat else completion_logprobs
    has_logprobs = asked.sampling.num_logprobs is not None
    assert reader.choice.finish_reason is not None
    choice: dict[str, Any] = {
        "index": index,
        **({"message": {"role": "assistant", "content": text, "refusal": None}} if is_chat else {"text": text}),
        "logprobs": render(pieces.shown, model.tokenizer.token_bytes) if has_logprobs else None,
        "finish_reason": reader.choice.finish_reason.value,
    }
    if asked.body.return_token_ids:
        choice["token_ids"] = pieces.token_ids
        if not is_chat:
            choice["prompt_token_ids"] = list(asked.prompts[index // asked.body.n])
    return choice
