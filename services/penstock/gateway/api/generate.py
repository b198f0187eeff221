"""/v1/chat/completions and /v1/completions.

Life of a request: step 1, from the body to token ids.
"""

from penstock.gateway.api.answer import Answer, Asked
from penstock.gateway.api.caller import Caller
from penstock.gateway.api.chat_body import ChatBody
from penstock.gateway.api.completion_body import OPENAI_DEFAULT_MAX_TOKENS, CompletionBody
from penstock.gateway.api.conversation import read_conversation
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.json_body import parse_body
from penstock.gateway.api.sampling_body import check_token_ids
from penstock.gateway.api.service import Service
from penstock.gateway.api.streamed import StreamedAnswer
from penstock.gateway.api.whole import respond_whole


async def chat_completions(service: Service, exchange: Exchange, caller: Caller) -> None:
    """A conversation, continued."""
    body = parse_body(ChatBody, await exchange.read(service.max_chat_bytes))
    model = service.model
    model.check_name(body.model)
    service.limits.check_num_choices(body.n)
    num_logprobs = body.num_logprobs
    prompt = await read_conversation(service, exchange, body)
    token_ids = prompt.token_ids
    if prompt.images:
        body = body.without_messages()
    max_tokens = model.output_limit(len(token_ids), body.token_limit, service.limits.default_max_tokens, "messages")
    sampling = body.sampling(max_tokens, num_logprobs, model.tokenizer.vocab_size)
    asked = Asked(body, [token_ids], sampling, [prompt.images])
    await _send(service, exchange, Answer(service, caller, asked, "chatcmpl"), is_chat=True)


async def completions(service: Service, exchange: Exchange, caller: Caller) -> None:
    """Texts or token ids, continued."""
    body = parse_body(CompletionBody, await exchange.read(service.limits.max_body_bytes))
    model = service.model
    model.check_name(body.model)
    service.limits.check_num_choices(len(body.prompt) * body.n)
    prompts: list[list[int]] = []
    for prompt in body.prompt:
        if isinstance(prompt, str):
            prompts.append(await model.tokenizer.encode(prompt, body.add_special_tokens))
        else:
            check_token_ids(prompt, model.tokenizer.vocab_size, "prompt")
            prompts.append(prompt)
    # one limit for all, and the longest prompt leaves the least room
    limits = [model.output_limit(len(ids), body.max_tokens, OPENAI_DEFAULT_MAX_TOKENS, "prompt") for ids in prompts]
    sampling = body.sampling(min(limits), body.logprobs, model.tokenizer.vocab_size)
    asked = Asked(body, prompts, sampling, [()] * len(prompts))
    await _send(service, exchange, Answer(service, caller, asked, "cmpl"), is_chat=False)


async def _send(service: Service, exchange: Exchange, answer: Answer, is_chat: bool) -> None:
    if not answer.asked.body.stream:
        await respond_whole(exchange, answer, service.model, is_chat)
        return
    service.metrics.open_streams.value += 1
    try:
        await StreamedAnswer(exchange, answer, service.model, is_chat).send()
    finally:
        service.metrics.open_streams.value -= 1
