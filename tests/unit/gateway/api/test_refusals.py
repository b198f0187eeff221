"""Whatever a client sends, the answer is 4xx with a sentence that names the parameter; never 5xx, never ignored."""

from typing import Any

import pytest

from penstock.core.types import Role
from penstock.gateway.api.app import ROUTES
from penstock.gateway.api.service import ApiLimits
from tests.gateway_fakes import MODEL, Client, FakeDispatcher, chat, make_service, worker

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def user(content: Any, **more: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": content, **more}])


def completion(**options: Any) -> dict[str, Any]:
    return {"prompt": "x", **options}


INVALID: list[tuple[str, Any, str | None]] = [
    (CHAT, b"", None),
    (CHAT, b"{", None),
    (CHAT, b"[]", None),
    (CHAT, b"null", None),
    (CHAT, b'"text"', None),
    (CHAT, b"\xff\xfe", None),
    (CHAT, b'{"messages": "\xc3\x28"}', None),
    (CHAT, b'{"messages": [{"role": "user", "content": "\\ud800"}]}', None),
    (CHAT, b'{"temperature": NaN}', None),
    (CHAT, b'{"temperature": Infinity}', None),
    (CHAT, b'{"temperature": 1e999}', None),
    (CHAT, b'{"metadata": ' + b"[" * 3000 + b"]" * 3000 + b"}", None),
    (CHAT, {}, "messages"),
    (CHAT, chat(messages=[]), "messages"),
    (CHAT, chat(messages=None), "messages"),
    (CHAT, chat(messages="hello"), "messages"),
    (CHAT, chat(messages=["hello"]), "messages[0]"),
    (CHAT, chat(messages=[{}]), "messages[0].role"),
    (CHAT, chat(messages=[{"role": "user"}]), "messages[0].content"),
    (CHAT, chat(messages=[{"role": "wizard", "content": "x"}]), "messages[0].role"),
    (CHAT, user(5), "messages[0].content"),
    (CHAT, user([]), "messages[0].content"),
    (CHAT, user(["text"]), "messages[0].content"),
    (CHAT, user([{"type": "text"}]), "messages[0].content"),
    (CHAT, user([{"type": ["text"], "text": "x"}]), "messages[0].content"),
    (CHAT, user("refuse me"), "messages"),
    (CHAT, chat(temperature=-0.1), "temperature"),
    (CHAT, chat(temperature="1"), "temperature"),
    (CHAT, chat(temperature=True), "temperature"),
    (CHAT, chat(top_p=0), "top_p"),
    (CHAT, chat(top_p=1.1), "top_p"),
    (CHAT, chat(top_k=-2), "top_k"),
    (CHAT, chat(min_p=2), "min_p"),
    (CHAT, chat(presence_penalty=3), "presence_penalty"),
    (CHAT, chat(repetition_penalty=0), "repetition_penalty"),
    (CHAT, chat(n=0), "n"),
    (CHAT, chat(n=17), "n"),
    (CHAT, chat(n=1.0), "n"),
    (CHAT, chat(max_tokens=0), "max_tokens"),
    (CHAT, chat(max_tokens=-5), "max_tokens"),
    (CHAT, b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1' + b"0" * 30 + b"}", "max_tokens"),
    (CHAT, chat(max_completion_tokens="5"), "max_completion_tokens"),
    (CHAT, chat(min_tokens=5, max_tokens=4), "min_tokens"),
    (CHAT, chat(min_tokens=-1), "min_tokens"),
    (CHAT, chat(seed="one"), "seed"),
    (CHAT, b'{"messages": [{"role": "user", "content": "x"}], "seed": 18446744073709551616}', "seed"),
    (CHAT, chat(stop=""), "stop[0]"),
    (CHAT, chat(stop=["x"] * 33), "stop"),
    (CHAT, chat(stop=[5]), "stop[0]"),
    (CHAT, chat(stop=5), "stop"),
    (CHAT, chat(stop_token_ids=[10**6]), "stop_token_ids"),
    (CHAT, chat(stop_token_ids=[-1]), "stop_token_ids[0]"),
    (CHAT, chat(logit_bias={"x": 1}), "logit_bias"),
    (CHAT, chat(logit_bias={"٣": 1}), "logit_bias"),
    (CHAT, chat(logit_bias={"5": 101}), "logit_bias.5"),
    (CHAT, chat(logit_bias={"999999": 1}), "logit_bias"),
    (CHAT, chat(logit_bias=[1]), "logit_bias"),
    (CHAT, chat(logprobs=2), "logprobs"),
    (CHAT, chat(top_logprobs=2), "top_logprobs"),
    (CHAT, chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    (CHAT, chat(stream_options={"include_usage": True}), "stream_options"),
    (CHAT, chat(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
    (CHAT, chat(chat_template_kwargs={"messages": 1}), "chat_template_kwargs"),
    (CHAT, chat(chat_template_kwargs={"x": [1]}), None),
    (COMPLETIONS, {}, "prompt"),
    (COMPLETIONS, {"prompt": ""}, "prompt"),
    (COMPLETIONS, {"prompt": []}, "prompt"),
    (COMPLETIONS, {"prompt": [[]]}, "prompt"),
    (COMPLETIONS, {"prompt": ["a", 5]}, "prompt"),
    (COMPLETIONS, {"prompt": [-1]}, "prompt"),
    (COMPLETIONS, {"prompt": [True]}, "prompt"),
    (COMPLETIONS, {"prompt": [10**6]}, "prompt"),
    (COMPLETIONS, {"prompt": {"a": 1}}, "prompt"),
    (COMPLETIONS, completion(logprobs=True), "logprobs"),
    (COMPLETIONS, completion(logprobs=-1), "logprobs"),
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": 5}, "prompt"),
    ("/tokenize", {"messages": []}, "messages"),
    ("/detokenize", {"tokens": "x"}, "tokens"),
    ("/detokenize", {"tokens": [10**9]}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
]

UNSUPPORTED: list[tuple[str, Any, str]] = [
    (CHAT, chat(tools=[{"type": "function"}]), "tools"),
    (CHAT, chat(tool_choice="required"), "tool_choice"),
    (CHAT, chat(functions=[{}]), "functions"),
    (CHAT, chat(response_format={"type": "json_object"}), "response_format"),
    (CHAT, chat(audio={"voice": "x"}), "audio"),
    (CHAT, chat(modalities=["text", "audio"]), "modalities"),
    (CHAT, chat(store=True), "store"),
    (CHAT, chat(reasoning_effort="high"), "reasoning_effort"),
    (CHAT, chat(no_such_option=1), "no_such_option"),
    (CHAT, chat(stream=True, stream_options={"include_obfuscation": True}), "stream_options.include_obfuscation"),
    (CHAT, chat(stream=True, stream_options={"other": True}), "stream_options.other"),
    (CHAT, user([{"type": "image_url", "image_url": {"url": "data:"}}]), "messages[0].content"),
    (CHAT, user("x", tool_calls=[{"id": "1"}]), "messages[0].tool_calls"),
    (CHAT, user("x", refusal="no"), "messages[0].refusal"),
    (COMPLETIONS, completion(best_of=2), "best_of"),
    (COMPLETIONS, completion(suffix="!"), "suffix"),
    (COMPLETIONS, completion(echo=True), "echo"),
    ("/tokenize", {"prompt": "x", "extra": 1}, "extra"),
]

HARMLESS = {
    "user": "me",
    "metadata": {"a": "b"},
    "safety_identifier": "x",
    "prompt_cache_key": "y",
    "response_format": {"type": "text"},
    "tools": [],
    "tool_choice": "none",
    "store": False,
    "service_tier": "auto",
    "logit_bias": None,
    "stop": None,
    "functions": None,
    "no_such_option": None,
}


@pytest.fixture
def client() -> Client:
    return Client(make_service(FakeDispatcher()))


def label(value: Any) -> str:
    return str(value)[:60]


@pytest.mark.parametrize(("path", "body", "param"), INVALID, ids=label)
async def test_invalid_bodies_are_400_and_name_the_parameter(
    client: Client, path: str, body: Any, param: str | None
) -> None:
    response = await client.post(path, body)
    assert response.status == 400
    assert set(response.error) == {"message", "type", "param", "code"}
    assert response.error["type"] == "invalid_request_error"
    assert response.error["message"].endswith(".")
    if param is not None:
        assert response.error["param"] == param


@pytest.mark.parametrize(("path", "body", "param"), UNSUPPORTED, ids=label)
async def test_what_is_not_offered_is_refused_by_name(client: Client, path: str, body: Any, param: str) -> None:
    response = await client.post(path, body)
    assert (response.status, response.error["code"]) == (400, "unsupported_parameter")
    assert response.error["param"] == param
    assert f"'{param}'" in response.error["message"]


@pytest.mark.parametrize("name", HARMLESS)
async def test_what_asks_for_nothing_is_accepted(client: Client, name: str) -> None:
    assert (await client.post(CHAT, chat(**{name: HARMLESS[name]}))).status == 200


async def test_a_message_may_come_back_as_a_client_library_dumps_it(client: Client) -> None:
    dumped: dict[str, Any] = {"role": "assistant", "content": "Hi", "tool_calls": None, "annotations": []}
    assert (await client.post(CHAT, chat(messages=[dumped, {"role": "user", "content": ""}]))).status == 200


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize"])
async def test_another_model_is_404(client: Client, path: str) -> None:
    bodies = {CHAT: chat(), COMPLETIONS: completion(), "/tokenize": completion(), "/detokenize": {"tokens": [5]}}
    response = await client.post(path, {**bodies[path], "model": "other"})
    assert (response.status, response.error["code"], response.error["param"]) == (404, "model_not_found", "model")
    assert f"'{MODEL}'" in response.error["message"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_huge_body_is_413_whether_or_not_its_length_is_declared(declared: bool) -> None:
    client = Client(make_service(FakeDispatcher(), limits=ApiLimits(max_body_bytes=1000)))
    headers = {"content-length": "5000"} if declared else {}
    response = await client.call("POST", CHAT, [b" " * 500] * (1 if declared else 10), headers)
    assert (response.status, response.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/", 405),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/other", 404),
        ("GET", f"/v1/models/{MODEL}", 200),
        ("HEAD", "/health", 200),
    ],
)
async def test_unknown_paths_and_methods_have_openais_shape_too(
    client: Client, method: str, path: str, status: int
) -> None:
    response = await client.call(method, path, [b""], {})
    assert response.status == status
    if status != 200:
        assert response.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("authorization", [None, "", "Bearer wrong", "secret", "Basic secret", "Bearer säcret"])
@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_without_the_key_only_probes_and_scrapers_are_answered(path: str, authorization: str | None) -> None:
    client = Client(make_service(FakeDispatcher(), api_keys=["secret"]))
    headers = {} if authorization is None else {"authorization": authorization}
    response = await client.call(ROUTES[path].method, path, [b"{}"], headers)
    assert (response.status == 401) == ROUTES[path].needs_key
    if response.status == 401:
        assert response.error["type"] == "authentication_error"
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_broken_handler_fails_its_request_and_not_the_process() -> None:
    service = make_service(FakeDispatcher(), is_stopping=lambda: 1 / 0)
    client = Client(service)
    response = await client.get("/ready")
    assert (response.status, response.error["code"]) == (500, "internal_error")
    assert (await client.get("/health")).status == 200


async def test_a_bad_request_id_is_replaced(client: Client) -> None:
    for bad in ("with space", "x" * 129, "a\tb", "ü"):
        response = await client.get("/health", {"x-request-id": bad})
        assert response.headers["x-request-id"].startswith("req-")


@pytest.mark.parametrize(
    ("workers", "status"),
    [
        ([], 503),
        ([worker("p", Role.PREFILL)], 503),
        ([worker("d", Role.DECODE)], 503),
        ([worker("p", Role.PREFILL), worker("d", Role.DECODE)], 200),
        ([worker("m", Role.MIXED)], 200),
        ([worker("m", Role.MIXED, is_draining=True)], 503),
    ],
)
async def test_ready_means_a_worker_for_each_stage(workers: Any, status: int) -> None:
    client = Client(make_service(FakeDispatcher(workers=workers)))
    assert (await client.get("/ready")).status == status
    assert (await client.get("/health")).status == 200
