"""/tokenize and /detokenize, in vLLM's shapes."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from penstock.gateway.api.caller import Caller
from penstock.gateway.api.chat_body import Conversation
from penstock.gateway.api.conversation import read_conversation
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.json_body import RequestBody, load_object, parse_body, parse_object
from penstock.gateway.api.sampling_body import check_token_ids
from penstock.gateway.api.service import Service


class TokenizeTextBody(RequestBody):
    """Text to tokens."""

    prompt: str
    model: str = ""
    add_special_tokens: bool = True
    return_token_strs: bool = False


class TokenizeChatBody(Conversation):
    """A conversation to tokens, as chat completions would see it."""

    model: str = ""
    add_special_tokens: bool = False
    return_token_strs: bool = False


class DetokenizeBody(RequestBody):
    """Tokens to text."""

    tokens: list[Annotated[int, Field(ge=0)]]
    model: str = ""


async def tokenize(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """How many tokens a prompt has, and which."""
    data = load_object(await exchange.read(service.max_chat_bytes))
    model, tokenizer = service.model, service.model.tokenizer
    body: TokenizeChatBody | TokenizeTextBody
    token_ids: Sequence[int]
    if "messages" in data:
        body = parse_object(TokenizeChatBody, data)
        model.check_name(body.model)
        token_ids = (await read_conversation(service, exchange, body, body.add_special_tokens)).token_ids
    else:
        body = parse_object(TokenizeTextBody, data)
        model.check_name(body.model)
        token_ids = await tokenizer.encode(body.prompt, body.add_special_tokens)
    names = [tokenizer.token_name(token_id) for token_id in token_ids] if body.return_token_strs else None
    await exchange.respond_json(
        {
            "count": len(token_ids),
            "max_model_len": model.max_context_tokens,
            "tokens": token_ids,
            "token_strs": names,
        }
    )


async def detokenize(service: Service, exchange: Exchange, _caller: Caller) -> None:
    """The text of tokens."""
    body = parse_body(DetokenizeBody, await exchange.read(service.limits.max_body_bytes))
    service.model.check_name(body.model)
    check_token_ids(body.tokens, service.model.tokenizer.vocab_size, "tokens")
    await exchange.respond_json({"prompt": service.model.tokenizer.decode(body.tokens)})
