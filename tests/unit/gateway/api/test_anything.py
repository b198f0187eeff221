"""Property: no body whatsoever makes the gateway fail; the answer is 200 or 4xx."""

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway_fakes import Client, FakeDispatcher, make_service
from tests.seeing_gateway import data_url, seeing_service

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = [
    *("model", "messages", "prompt", "stream", "stream_options", "n", "temperature", "top_p", "top_k", "min_p", "stop"),
    *("presence_penalty", "logit_bias", "seed", "max_tokens", "max_completion_tokens", "min_tokens", "stop_token_ids"),
    *("logprobs", "top_logprobs", "tools", "response_format", "echo", "best_of", "suffix", "user", "tokens"),
    *("chat_template_kwargs", "add_generation_prompt", "add_special_tokens", "return_token_ids", "metadata"),
]
BASES: dict[str, Any] = {
    CHAT: {"messages": [{"role": "user", "content": "x"}]},
    COMPLETIONS: {"prompt": "x"},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [5]},
}
relaxed = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(st.sampled_from(sorted(BASES)), st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4))
async def test_no_json_makes_the_gateway_fail(path: str, options: dict[str, Any]) -> None:
    client = Client(make_service(FakeDispatcher()))
    response = await client.post(path, {**BASES[path], **options})
    assert response.status == 200 or 400 <= response.status < 500, response.body


@relaxed
@given(st.sampled_from(sorted(BASES)), st.binary(max_size=60))
async def test_no_bytes_make_the_gateway_fail(path: str, body: bytes) -> None:
    client = Client(make_service(FakeDispatcher()))
    assert 400 <= (await client.post(path, body)).status < 500


parts = st.one_of(
    anything,
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "video_url"])}, optional={
        "text": anything,
        "image_url": anything | st.fixed_dictionaries(
            {"url": st.sampled_from(["", "data:", "http://", "data:image/png;base64,", data_url()]) | anything},
            optional={"detail": st.sampled_from(["low", "auto"]) | anything},
        ),
    }),
)  # fmt: skip


@relaxed
@given(st.lists(parts, max_size=4))
async def test_no_parts_make_a_gateway_that_sees_fail(content: Any) -> None:
    client = Client(seeing_service(FakeDispatcher()))
    for path in (CHAT, "/tokenize"):
        response = await client.post(path, {"messages": [{"role": "user", "content": content}]})
        assert response.status == 200 or 400 <= response.status < 500, response.body


@relaxed
@given(anything)
async def test_no_messages_make_the_gateway_fail(messages: Any) -> None:
    client = Client(make_service(FakeDispatcher()))
    for value in (messages, [messages], [{"role": "user", "content": messages}]):
        response = await client.call("POST", CHAT, [orjson.dumps({"messages": value})], {})
        assert response.status == 200 or 400 <= response.status < 500, response.body
