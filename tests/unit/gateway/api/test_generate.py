"""Chat and completions from body to answer, streamed and whole, without HTTP and without workers."""

from typing import Any

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.types import Request
from penstock.gateway.api.sampling_body import derived_seed
from tests.gateway_fakes import (
    MODEL,
    Client,
    FakeDispatcher,
    byte_level_tokenizer,
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


async def test_a_chat_answer_has_openais_shape() -> None:
    client, dispatcher = client_saying(num_cached_tokens=3)
    response = await client.post(CHAT, chat())
    assert response.status == 200
    num_prompt_tokens = len(only_request(dispatcher).prompt_token_ids)
    num_output_tokens = len(tokens_of(TEXT)) + 1  # the one that ended it
    answer = response.json
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer == {
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": num_output_tokens,
            "total_tokens": num_prompt_tokens + num_output_tokens,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }


async def test_the_prompt_is_the_template_rendered_and_its_hashes_go_with_it() -> None:
    client, dispatcher = client_saying()
    messages = [
        {"role": "developer", "content": "Be brief and never, ever, speak of the mill that stands by the river."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    ]
    await client.post(CHAT, chat(messages=messages))
    request = only_request(dispatcher)
    expected = (
        "<|im_start|>system\nBe brief and never, ever, speak of the mill that stands by the river.<|im_end|>\n"
        "<|im_start|>user\none\ntwo<|im_end|>\n<|im_start|>assistant\n"
    )
    assert byte_level_tokenizer().decode(list(request.prompt_token_ids), skip_special_tokens=False) == expected
    assert request.block_hashes == hash_blocks(request.prompt_token_ids)
    assert request.block_hashes


async def test_a_stream_says_who_speaks_then_each_token_then_why_it_ended() -> None:
    client, _ = client_saying()
    response = await client.post(CHAT, chat(stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, done = response.events
    assert done == "[DONE]"
    first, *middle, last = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"]["content"] for choice in middle) == TEXT
    assert len(middle) > 5
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert all(choice["finish_reason"] is None for choice in (first, *middle))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_comes_last_when_a_stream_asks_for_it() -> None:
    client, _ = client_saying()
    response = await client.post(CHAT, chat(stream=True, stream_options={"include_usage": True}))
    *chunks, usage, done = response.events
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(tokens_of(TEXT)) + 1


async def test_completions_stream_text_without_a_role() -> None:
    client, dispatcher = client_saying()
    response = await client.post(COMPLETIONS, {"prompt": "The river", "stream": True, "max_tokens": 5})
    *chunks, _ = response.events
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    shown = [token.token_id for token in tokens_of(TEXT)[:5]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == byte_level_tokenizer().decode(shown)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert only_request(dispatcher).sampling.max_tokens == 5


@pytest.mark.parametrize("stream", [False, True])
async def test_n_choices_of_several_prompts_are_indexed_prompt_by_prompt(stream: bool) -> None:
    client, dispatcher = client_saying(num_cached_tokens=1)
    body = {"prompt": ["a", "river runs"], "n": 2, "seed": 7, "stream": stream, "max_tokens": 40}
    body |= {"stream_options": {"include_usage": True}} if stream else {}
    response = await client.post(COMPLETIONS, body)
    texts = dict.fromkeys(range(4), "")
    if stream:
        for chunk in response.events[:-1]:
            for choice in chunk["choices"]:
                texts[choice["index"]] += choice["text"]
        usage = response.events[-2]["usage"]
    else:
        texts = {choice["index"]: choice["text"] for choice in response.json["choices"]}
        usage = response.json["usage"]
    assert texts == dict.fromkeys(range(4), TEXT)
    lengths = [len(request.prompt_token_ids) for request in dispatcher.requests]
    assert usage["prompt_tokens"] == lengths[0] + lengths[2]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}
    assert usage["completion_tokens"] == 4 * (len(tokens_of(TEXT)) + 1)
    seeds = [request.sampling.seed for request in dispatcher.requests]
    assert seeds == [7, derived_seed(7, 1), 7, derived_seed(7, 1)]
    assert len({request.request_id for request in dispatcher.requests}) == 4


async def test_without_a_seed_every_sequence_draws_its_own() -> None:
    client, dispatcher = client_saying()
    await client.post(CHAT, chat(n=3))
    assert len({request.sampling.seed for request in dispatcher.requests}) == 3


async def test_a_negative_seed_is_a_seed() -> None:
    client, dispatcher = client_saying()
    await client.post(CHAT, chat(seed=-1))
    assert only_request(dispatcher).sampling.seed == 2**64 - 1


async def test_every_sampling_option_reaches_the_engine() -> None:
    client, dispatcher = client_saying()
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "presence_penalty": 0.2,
        "frequency_penalty": -0.3,
        "repetition_penalty": 1.1,
        "min_tokens": 2,
        "ignore_eos": True,
        "seed": 5,
    }
    more = {"logit_bias": {"5": 1.5}, "stop_token_ids": [7, 8], "logprobs": True, "top_logprobs": 3}
    await client.post(CHAT, chat(**options, **more, max_completion_tokens=20, max_tokens=3))
    sampling = only_request(dispatcher).sampling
    assert {name: getattr(sampling, name) for name in options} == options
    assert sampling.logit_bias == ((5, 1.5),)
    assert sampling.stop_token_ids == (7, 8)
    assert (sampling.num_logprobs, sampling.max_tokens) == (3, 20)


@pytest.mark.parametrize("prompt", [[5, 6, 7], [[5, 6, 7]]])
async def test_a_prompt_may_be_token_ids(prompt: list[Any]) -> None:
    client, dispatcher = client_saying()
    response = await client.post(COMPLETIONS, {"prompt": prompt, "return_token_ids": True, "max_tokens": 99})
    assert list(only_request(dispatcher).prompt_token_ids) == [5, 6, 7]
    choice = response.json["choices"][0]
    assert choice["prompt_token_ids"] == [5, 6, 7]
    assert choice["token_ids"][:-1] == [token.token_id for token in tokens_of(TEXT)]


async def test_token_ids_are_streamed_when_asked_for() -> None:
    client, dispatcher = client_saying()
    *chunks, _ = (await client.post(CHAT, chat(stream=True, return_token_ids=True))).events
    assert chunks[0]["prompt_token_ids"] == list(only_request(dispatcher).prompt_token_ids)
    ids = [token_id for chunk in chunks for token_id in chunk["choices"][0].get("token_ids", [])]
    assert ids[:-1] == [token.token_id for token in tokens_of(TEXT)]


@pytest.mark.parametrize(
    ("path", "body", "num_tokens"),
    [
        (COMPLETIONS, {"prompt": [5] * 500, "max_tokens": 13}, 513),
        (COMPLETIONS, {"prompt": [5] * 512}, 513),
        (CHAT, chat(max_tokens=100_000), 100_009),
    ],
)
async def test_more_than_the_context_is_refused_with_both_numbers(
    path: str, body: dict[str, Any], num_tokens: int
) -> None:
    client, dispatcher = client_saying()
    response = await client.post(path, body)
    assert (response.status, response.error["code"]) == (400, "context_length_exceeded")
    assert "512 tokens" in response.error["message"]
    assert str(num_tokens)[:3] in response.error["message"]
    assert response.error["param"] == ("prompt" if path == COMPLETIONS else "messages")
    assert not dispatcher.requests
