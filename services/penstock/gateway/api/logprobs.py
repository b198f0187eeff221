"""Log-probabilities as the two endpoints spell them."""

from collections.abc import Sequence
from typing import Any

from penstock.gateway.api.choice import ShownToken

# JSON has no infinity; what OpenAI's own API reports for tokens that were ruled out
LEAST_LOGPROB = -9999.0


def chat_logprobs(shown: Sequence[ShownToken], token_bytes: Sequence[bytes]) -> dict[str, Any]:
    """`choices[].logprobs` of chat: one entry per token, with its bytes, for a token may be part of a character."""
    return {"content": [_chat_entry(item, token_bytes) for item in shown], "refusal": None}


def _chat_entry(item: ShownToken, token_bytes: Sequence[bytes]) -> dict[str, Any]:
    logprobs = item.token.logprobs
    assert logprobs is not None, "the engine was asked for log-probabilities"
    entry = _named(item.token.token_id, logprobs.logprob, token_bytes)
    entry["top_logprobs"] = [
        _named(token_id, logprob, token_bytes)
        for token_id, logprob in zip(logprobs.top_token_ids, logprobs.top_logprobs, strict=True)
    ]
    return entry


def _named(token_id: int, logprob: float, token_bytes: Sequence[bytes]) -> dict[str, Any]:
    data = token_bytes[token_id]
    return {"token": data.decode("utf8", "replace"), "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(data)}


def completion_logprobs(shown: Sequence[ShownToken], token_bytes: Sequence[bytes]) -> dict[str, Any]:
    """`choices[].logprobs` of completions: parallel lists; offsets count characters of this choice's text."""
    names: list[str] = []
    values: list[float] = []
    tops: list[dict[str, float]] = []
    for item in shown:
        logprobs = item.token.logprobs
        assert logprobs is not None, "the engine was asked for log-probabilities"
        name = token_bytes[item.token.token_id].decode("utf8", "replace")
        value = max(logprobs.logprob, LEAST_LOGPROB)
        top = {
            token_bytes[token_id].decode("utf8", "replace"): max(logprob, LEAST_LOGPROB)
            for token_id, logprob in zip(logprobs.top_token_ids, logprobs.top_logprobs, strict=True)
        }
        names.append(name)
        values.append(value)
        tops.append({**top, name: value} if top else {})
    offsets = [item.offset for item in shown]
    return {"tokens": names, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}
