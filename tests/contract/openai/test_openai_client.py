"""The official `openai` client works unchanged: answers, streams, errors, leaving early."""

import asyncio
from typing import Any

import openai
import pytest

from penstock.core.errors import NoWorkers, Overloaded, WorkerLost
from penstock.core.types import FinishReason
from tests.contract.openai.conftest import Serve, Served
from tests.gateway_fakes import MODEL, FakeDispatcher, tokens_of

TEXT = "Größe 🙂 and a wheel turns"
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_chat(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(TEXT, num_cached_tokens=4))
    answer = await served.client.chat.completions.create(model=MODEL, messages=MESSAGES, n=2, seed=1)
    assert [choice.message.content for choice in answer.choices] == [TEXT, TEXT]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * (len(tokens_of(TEXT)) + 1)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


async def test_streamed_chat_with_usage(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(TEXT))
    stream = await served.client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(tokens_of(TEXT)) + 1


async def test_the_clients_own_stream_helper_accumulates(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(TEXT))
    async with served.client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        async for _event in stream:
            pass
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == TEXT


async def test_chat_logprobs_and_stop(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(TEXT, FinishReason.LENGTH))
    answer = await served.client.chat.completions.create(
        model=MODEL, messages=MESSAGES, logprobs=True, top_logprobs=2, stop=[" wheel"]
    )
    choice = answer.choices[0]
    assert choice.message.content == "Größe 🙂 and a"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    spelled = bytes(byte for entry in choice.logprobs.content for byte in entry.bytes or [])
    assert spelled.decode() == "Größe 🙂 and a"
    assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)


async def test_completions(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(TEXT))
    answer = await served.client.completions.create(
        model=MODEL, prompt=["a", "b"], max_tokens=3, logprobs=1, extra_body={"return_token_ids": True, "top_k": 3}
    )
    shown = [token.token_id for token in tokens_of(TEXT)[:3]]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert all(choice.model_extra and choice.model_extra["token_ids"] == shown for choice in answer.choices)
    stream = await served.client.completions.create(model=MODEL, prompt="a", max_tokens=99, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


async def test_models(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher())
    assert [model.id async for model in served.client.models.list()] == [MODEL]
    assert (await served.client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await served.client.models.retrieve("other")


@pytest.mark.parametrize(
    ("options", "error", "param"),
    [
        ({"temperature": 5}, openai.BadRequestError, "temperature"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools"),
        ({"max_tokens": 100_000}, openai.BadRequestError, "messages"),
        ({"model": "other"}, openai.NotFoundError, "model"),
        ({"extra_body": {"unknown": 1}}, openai.BadRequestError, "unknown"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_wrong_requests_raise_the_clients_own_errors(
    serve: Serve, options: dict[str, Any], error: type[openai.APIStatusError], param: str, stream: bool
) -> None:
    served: Served = await serve(FakeDispatcher())
    with pytest.raises(error) as raised:
        await served.client.chat.completions.create(
            **{"model": MODEL, "messages": MESSAGES, "stream": stream, **options}
        )
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id


async def test_a_wrong_key_raises_authentication_error(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(), api_keys=["right"])
    await served.client.models.list()
    with pytest.raises(openai.AuthenticationError):
        await served.client.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize(
    ("failure", "error"),
    [(Overloaded("Busy.", 7.0), openai.RateLimitError), (NoWorkers("Nobody."), openai.InternalServerError)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_the_first_token_have_their_status(
    serve: Serve, failure: Any, error: type[openai.APIStatusError], stream: bool
) -> None:
    served: Served = await serve(FakeDispatcher("", error=failure))
    with pytest.raises(error) as raised:
        await served.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
    if isinstance(failure, Overloaded):
        assert raised.value.response.headers["retry-after"] == "7"


async def test_a_failure_in_a_stream_raises_while_reading(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher("Hello, wor", error=WorkerLost("Gone.")))
    stream = await served.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="Gone"):
        async for _chunk in stream:
            pass


@pytest.mark.parametrize("n", [1, 3])
async def test_leaving_a_stream_cancels_its_sequences(serve: Serve, n: int) -> None:
    served: Served = await serve(FakeDispatcher(is_manual=True))
    asking = asyncio.create_task(
        served.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, n=n)
    )
    await until(lambda: len(served.dispatcher.generations) == n)
    served.dispatcher.generations[0].deliver(0, tokens_of("a")[0])
    stream = await asking
    await stream.close()
    await until(lambda: len(served.dispatcher.cancelled_ids) == n)


async def test_leaving_before_the_first_token_cancels(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(is_manual=True))
    asking = asyncio.create_task(served.client.chat.completions.create(model=MODEL, messages=MESSAGES))
    await until(lambda: served.dispatcher.generations)
    asking.cancel()
    await until(lambda: served.dispatcher.cancelled_ids)


async def test_stopping_lets_open_streams_end_and_takes_no_new_ones(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(is_manual=True))
    asking = asyncio.create_task(served.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    await until(lambda: served.dispatcher.generations)
    generation = served.dispatcher.generations[0]
    generation.deliver(0, tokens_of("a")[0])
    stream = await asking
    served.stop.set()
    await asyncio.sleep(0.3)
    with pytest.raises(openai.APIConnectionError):
        await served.client.with_options(timeout=2).models.list()
    generation.deliver(1, tokens_of("b")[0])
    generation.finish(FinishReason.LENGTH)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "ab"


async def test_a_stream_that_outlasts_the_drain_is_told_and_cancelled(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher(is_manual=True))
    asking = asyncio.create_task(served.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    await until(lambda: served.dispatcher.generations)
    served.dispatcher.generations[0].deliver(0, tokens_of("a")[0])
    stream = await asking
    served.stop.set()
    with pytest.raises(openai.APIError, match="stopping"):
        async for _chunk in stream:
            pass
    assert served.dispatcher.cancelled_ids
