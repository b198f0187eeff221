"""Chat and completions from body to answer, streamed and whole, without HTTP and without workers."""

import asyncio
from typing import Any

import pytest
from tests.gateway_fakes import (
    MAX_CONTEXT_TOKENS,
    MODEL,
    Client,
    FakeDispatcher,
    byte_level_tokenizer,
    chat,
    make_service,
    tokens_of,
)

from penstock.core.blocks import hash_blocks
from penstock.core.errors import InternalError, NoWorkers, Overloaded, WorkerLost
from penstock.core.types import FinishReason, Request
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.sampling_body import derived_seed
from penstock.gateway.api.service import ApiLimits

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
@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        ("and", "Größe 🙂 "),
        (["xyz", "whe"], "Größe 🙂 and a "),
        (["nothing of it"], TEXT),
        (["ße"], "Grö"),
        ("🙂", "Größe "),
    ],
)
async def test_a_stop_string_cuts_the_text_exactly_and_stops_the_work(stop: Any, shown: str, stream: bool) -> None:
    client, dispatcher = client_saying(finish=FinishReason.LENGTH)
    response = await client.post(CHAT, chat(stop=stop, stream=stream))
    if stream:
        deltas = [chunk["choices"][0] for chunk in response.events[:-1]]
        assert "".join(delta["delta"].get("content", "") for delta in deltas) == shown
        reason = deltas[-1]["finish_reason"]
    else:
        assert response.json["choices"][0]["message"]["content"] == shown
        reason = response.json["choices"][0]["finish_reason"]
    assert reason == ("length" if shown == TEXT else "stop")
    assert bool(dispatcher.cancelled_ids) == (shown != TEXT)


async def test_what_is_counted_does_not_depend_on_how_tokens_arrive_together() -> None:
    counted = []
    for is_manual in (True, False):
        client, dispatcher = client_saying("one two END three four", is_manual=is_manual)
        answering = asyncio.create_task(client.post(CHAT, chat(stop="END", logprobs=True)))
        if is_manual:
            while not dispatcher.generations:
                await asyncio.sleep(0)
            for position, token in enumerate(tokens_of("one two END three four", 0)):
                dispatcher.generations[0].deliver(position, token)
            dispatcher.generations[0].finish(FinishReason.STOP)
        counted.append((await answering).json)
    assert counted[0]["usage"] == counted[1]["usage"]
    assert counted[0]["choices"] == counted[1]["choices"]
    assert counted[0]["choices"][0]["message"]["content"] == "one two "


async def test_stop_strings_wait_for_min_tokens() -> None:
    client, _ = client_saying("a b a b a b")
    num_tokens = len(tokens_of("a b a"))
    response = await client.post(CHAT, chat(stop="b", min_tokens=num_tokens))
    assert response.json["choices"][0]["message"]["content"] == "a b a "


async def test_chat_logprobs_name_every_shown_token_with_its_bytes() -> None:
    client, _ = client_saying("🙂 END", finish=FinishReason.LENGTH)
    response = await client.post(CHAT, chat(logprobs=True, top_logprobs=2, stop=" END"))
    entries = response.json["choices"][0]["logprobs"]["content"]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == "🙂"
    assert all(entry["logprob"] == -0.5 and len(entry["top_logprobs"]) == 2 for entry in entries)
    assert entries[0]["top_logprobs"][0]["bytes"] == entries[0]["bytes"]


@pytest.mark.parametrize("stop", [None, "never said"])
async def test_streamed_logprobs_are_those_of_the_whole_answer(stop: str | None) -> None:
    client, _ = client_saying()
    options = {"logprobs": True, "top_logprobs": 1, "stop": stop}
    whole = (await client.post(CHAT, chat(**options))).json["choices"][0]["logprobs"]["content"]
    chunks = (await client.post(CHAT, chat(**options, stream=True))).events[:-1]
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for logprobs in streamed if logprobs for entry in logprobs["content"]] == whole
    assert len(whole) == len(tokens_of(TEXT))


async def test_completion_logprobs_are_parallel_lists_with_offsets() -> None:
    client, _ = client_saying("The quick brown")
    response = await client.post(COMPLETIONS, {"prompt": "x", "logprobs": 2, "max_tokens": 50})
    choice = response.json["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"] == "The quick brown"
    ends = [offset + len(token) for offset, token in zip(logprobs["text_offset"], logprobs["tokens"], strict=True)]
    assert [0, *ends[:-1]] == logprobs["text_offset"]
    assert all(token in top for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True))


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


async def test_an_unnamed_limit_is_cut_to_what_the_context_leaves() -> None:
    client, dispatcher = client_saying()
    await client.post(COMPLETIONS, {"prompt": [5] * (MAX_CONTEXT_TOKENS - 4)})
    assert only_request(dispatcher).sampling.max_tokens == 4


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


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Overloaded("Busy.", retry_after_s=2.3), 429, "rate_limit_error"),
        (NoWorkers("Nobody."), 503, "server_error"),
        (InternalError("Oh."), 500, "server_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_token_keeps_its_status(
    error: Any, status: int, kind: str, stream: bool
) -> None:
    client, _ = client_saying("", error=error)
    response = await client.post(CHAT, chat(stream=stream))
    assert response.status == status
    assert response.error == {"message": error.message, "type": kind, "param": None, "code": error.code}
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


async def test_an_error_in_a_stream_is_its_last_event() -> None:
    client, _ = client_saying("Hello, wor", error=WorkerLost("Gone."))
    response = await client.post(CHAT, chat(stream=True))
    assert response.status == 200
    *chunks, last = response.events
    assert last["error"]["code"] == "worker_lost"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_one_failed_choice_fails_the_answer_and_stops_the_others() -> None:
    client, dispatcher = client_saying(is_manual=True)
    answering = asyncio.create_task(client.post(CHAT, chat(n=3)))
    while len(dispatcher.generations) < 3:
        await asyncio.sleep(0)
    dispatcher.generations[1].fail(WorkerLost("Gone."))
    assert (await answering).status == 503
    assert len(dispatcher.cancelled_ids) == 2


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_work_at_once(stream: bool, n: int) -> None:
    client, dispatcher = client_saying(is_manual=True)
    answering = asyncio.create_task(client.post(CHAT, chat(stream=stream, n=n)))
    while len(dispatcher.generations) < n:
        await asyncio.sleep(0)
    dispatcher.generations[0].deliver(0, tokens_of("a")[0])
    client.left.set()
    await answering
    assert len(dispatcher.cancelled_ids) == n


async def test_headers_become_deadline_priority_and_trace() -> None:
    client, dispatcher = client_saying()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"x-llm-d-slo-ttft-ms": "250", "x-penstock-priority": "-3", "traceparent": trace, "x-request-id": "mine"}
    response = await client.post(CHAT, chat(), headers)
    request = only_request(dispatcher)
    assert request.first_token_deadline_s == pytest.approx(100.25)
    assert (request.priority, request.traceparent) == (-3, trace)
    assert response.headers["x-request-id"] == "mine"
    assert request.request_id != "mine"  # clients repeat theirs


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-llm-d-slo-ttft-ms", v) for v in ("0", "-5", "soon", "nan", "1e3", "٣")]
    + [("x-penstock-priority", v) for v in ("1.5", "high", "99999999999999")],
)
async def test_a_header_that_means_nothing_is_refused_by_name(header: str, value: str) -> None:
    client, dispatcher = client_saying()
    response = await client.post(CHAT, chat(), {header: value.encode().decode("latin-1")})
    assert (response.status, response.error["param"]) == (400, header)
    assert not dispatcher.requests


async def test_tenants_share_no_prefix() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher, api_keys=["alpha", "beta"]))
    for key in ("alpha", "beta"):
        await client.post(COMPLETIONS, {"prompt": [5] * 64}, {"authorization": f"Bearer {key}"})
    first, second = dispatcher.requests
    assert len(first.block_hashes) == len(second.block_hashes) == 4
    assert not set(first.block_hashes) & set(second.block_hashes)


async def test_too_many_choices_are_refused() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher, limits=ApiLimits(max_num_choices=3)))
    response = await client.post(COMPLETIONS, {"prompt": ["a", "b"], "n": 2})
    assert (response.status, response.error["param"]) == (400, "n")
    assert not dispatcher.requests


async def test_metrics_count_every_token_once() -> None:
    service = make_service(FakeDispatcher(TEXT))
    client = Client(service)
    await client.post(CHAT, chat(n=2))
    text = (await client.get("/metrics")).body.decode()
    num_tokens = 2 * (len(tokens_of(TEXT)) + 1)
    assert f'vllm:generation_tokens_total{{model_name="tiny"}} {float(num_tokens)}' in text
    assert 'vllm:request_success_total{finished_reason="stop",model_name="tiny"} 2.0' in text
    assert 'vllm:time_to_first_token_seconds_count{model_name="tiny"} 2.0' in text
    # the dispatcher says a first token and a second before anyone reads: one arrival
    assert f'vllm:inter_token_latency_seconds_count{{model_name="tiny"}} {float(num_tokens - 4)}' in text
    assert 'penstock_gateway_responses_total{path="/v1/chat/completions",status="200"} 1.0' in text


def test_api_keys_are_compared_whole() -> None:
    keys = ApiKeys(["secret"])
    assert keys.tenant_salt("Bearer secret") == keys.tenant_salt("bearer  secret")
    assert ApiKeys([]).tenant_salt("") == b""
