"""Images in chat requests: where they stand in the prompt, what they are called, and what is refused."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import generate_latest

from penstock.core.blocks import hash_blocks
from penstock.core.images import hashed_token_ids
from penstock.core.types import Request
from penstock.gateway.images.fetch import Fetcher, Spend
from penstock.gateway.images.reader import ImageLimits
from tests.gateway_fakes import MAX_CONTEXT_TOKENS, Client, FakeDispatcher, chat, make_service
from tests.image_files import animated_file, image_file, picture
from tests.seeing_gateway import (
    VISION_TOKENS,
    data_url,
    image_part,
    placeholder_id,
    seeing_changes,
    seeing_service,
    seeing_tokenizer,
    text_part,
    user,
)

CHAT = "/v1/chat/completions"
START, PAD, END = VISION_TOKENS
SMALL = image_file(picture(32, 16))  # 2 tokens
LARGE = image_file(picture(32, 48))  # 6 tokens
IMAGE = "messages[0].content[0].image_url"


def text_of(request: Request) -> str:
    return seeing_tokenizer().decode(request.prompt_token_ids)


async def ask(body: dict[str, Any], **changes: Any) -> tuple[Request, Sequence[bytes]]:
    """The request that the dispatcher is given for `body`, and its files."""
    dispatcher = FakeDispatcher()
    response = await Client(seeing_service(dispatcher, **changes)).post(CHAT, body)
    assert response.status == 200, response.json
    return dispatcher.requests[0], dispatcher.files[0]


async def test_text_and_images_keep_their_order() -> None:
    small, large = image_part(data_url(SMALL)), image_part(data_url(LARGE))
    first = user(text_part("A "), small, text_part(" B "), large, text_part("C"))
    body = chat(messages=[{"role": "system", "content": "Look."}, first, user(small)])
    request, files = await ask(body)
    assert text_of(request) == (
        "<|im_start|>system\nLook.<|im_end|>\n"
        f"<|im_start|>user\nA {START}{PAD * 2}{END} B {START}{PAD * 6}{END}C<|im_end|>\n"
        f"<|im_start|>user\n{START}{PAD * 2}{END}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert list(files) == [SMALL, LARGE, SMALL]
    assert [span.num_tokens for span in request.images] == [2, 6, 2]
    assert [span.grid for span in request.images] == [(1, 2, 4), (1, 6, 4), (1, 2, 4)]
    for span in request.images:
        assert set(request.prompt_token_ids[span.start : span.end]) == {placeholder_id()}
        assert request.prompt_token_ids[span.end] != placeholder_id()


async def test_a_url_may_stand_without_an_object_around_it() -> None:
    request, files = await ask(chat(messages=[user({"type": "image_url", "image_url": data_url(SMALL)})]))
    assert (len(request.images), files) == (1, [SMALL])


async def test_blocks_are_hashed_over_what_the_images_show() -> None:
    async def hashes(file: bytes, **detail: Any) -> Sequence[bytes]:
        message = user(text_part("x" * 60), image_part(data_url(file), **detail))
        request, _ = await ask(chat(messages=[message]))
        assert request.block_hashes == hash_blocks(hashed_token_ids(request.prompt_token_ids, request.images))
        return request.block_hashes

    one, other = image_file(picture(160, 160)), image_file(picture(160, 160).rotate(90))
    first, second = await hashes(one), await hashes(other)
    assert first == await hashes(one, detail="high")
    assert len(first) == len(second) > 4
    assert first[0] == second[0] and first[-1] != second[-1]
    assert len(set(first) & set(second)) < len(first) // 2


async def test_tenants_share_no_embeddings() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher, ("ours:key-a", "theirs:key-b"), **seeing_changes()))
    body = chat(messages=[user(image_part(data_url(SMALL)))])
    for key in ("key-a", "key-a", "key-b"):
        assert (await client.post(CHAT, body, {"authorization": f"Bearer {key}"})).status == 200
    ours, again, theirs = (request.images[0].content_hash for request in dispatcher.requests)
    assert ours == again != theirs


async def test_low_detail_costs_fewer_tokens() -> None:
    client = Client(seeing_service(FakeDispatcher()))

    async def count(**detail: str) -> int:
        message = user(image_part(data_url(image_file(picture(768, 768))), **detail))
        num_tokens: int = (await client.post("/tokenize", {"messages": [message]})).json["count"]
        return num_tokens

    num_tokens = await count()
    assert num_tokens == await count(detail="auto") == await count(detail="high")
    assert num_tokens - await count(detail="low") == 48 * 48 - 32 * 32


async def test_every_choice_has_the_images_and_usage_counts_them_once() -> None:
    dispatcher = FakeDispatcher()
    client = Client(seeing_service(dispatcher))
    response = await client.post(CHAT, chat(messages=[user(image_part(data_url(LARGE)))], n=2))
    assert [len(request.images) for request in dispatcher.requests] == [1, 1]
    assert dispatcher.files == [[LARGE], [LARGE]]
    num_tokens = len(dispatcher.requests[0].prompt_token_ids)
    assert response.json["usage"]["prompt_tokens"] == num_tokens
    without = await client.post(CHAT, chat(messages=[user(image_part(data_url(SMALL)))]))
    assert without.json["usage"]["prompt_tokens"] == num_tokens - 4


async def test_messages_of_text_are_as_without_vision() -> None:
    request, files = await ask(chat(messages=[{"role": "user", "content": "Hi"}]))
    assert (request.images, files) == ([], [])
    assert text_of(request) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


LISTS_ONLY = "{% for m in messages %}{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endfor %}"


async def test_a_template_that_knows_only_parts_is_given_parts() -> None:
    body = chat(messages=[{"role": "user", "content": "Hi"}, user(text_part("a"), text_part("b"))])
    request, _ = await ask(body, template=LISTS_ONLY)
    assert text_of(request) == "<Hi><a><b>"


async def test_tokenize_counts_the_tokens_of_images() -> None:
    client = Client(seeing_service(FakeDispatcher()))
    message = user(image_part(data_url(LARGE)), text_part("what?"))
    counted = (await client.post("/tokenize", {"messages": [message]})).json
    dispatcher = FakeDispatcher()
    await Client(seeing_service(dispatcher)).post(CHAT, chat(messages=[message]))
    assert counted["tokens"] == list(dispatcher.requests[0].prompt_token_ids)
    assert counted["count"] == len(counted["tokens"])
    refused = await client.post("/tokenize", {"messages": [user(image_part("data:"))]})
    assert (refused.status, refused.error["param"]) == (400, IMAGE)


@pytest.mark.parametrize(
    ("part", "param", "sentence"),
    [
        ({"type": "video_url", "video_url": {"url": "data:"}}, "messages[0].content", "send their frames as images"),
        ({"type": "input_image", "image_url": "data:"}, "messages[0].content", "a part of type 'input_image'"),
        ({"type": "input_audio"}, "messages[0].content", "a part of type 'input_audio'"),
        ({"type": "image_url"}, "messages[0].content", "must have a string 'url'"),
        ({"type": "image_url", "image_url": {}}, "messages[0].content", "must have a string 'url'"),
        ({"type": "image_url", "image_url": {"url": 5}}, "messages[0].content", "must have a string 'url'"),
        ({"type": "image_url", "image_url": ""}, "messages[0].content", "must have a string 'url'"),
        (image_part(detail="medium"), "messages[0].content", "auto, low or high"),
        (image_part(detail=["low"]), "messages[0].content", "auto, low or high"),
        (image_part(size=5), "messages[0].content", "no option 'size'"),
        (image_part("data:"), IMAGE, "not of the form"),
        (image_part(data_url(b"no image")), IMAGE, "unknown kind"),
        (image_part(data_url(animated_file())), IMAGE, "animated"),
        (image_part(data_url(image_file()[:-30])), IMAGE, "cut short"),
        (image_part("file:///etc/passwd"), IMAGE, "neither a data URL"),
        (image_part("http://127.0.0.1/"), IMAGE, "fetches no URLs"),
        (text_part(f"{PAD} and {PAD}"), None, ""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_read_is_400_with_a_sentence(
    part: dict[str, Any], param: str | None, sentence: str, stream: bool
) -> None:
    dispatcher = FakeDispatcher()
    response = await Client(seeing_service(dispatcher)).post(CHAT, chat(messages=[user(part)], stream=stream))
    if param is None:  # without images such a text is a text like any other
        assert response.status == 200
        return
    assert (response.status, response.error["param"]) == (400, param)
    assert sentence in response.error["message"] and response.error["message"].endswith(".")
    assert not dispatcher.requests


async def test_the_image_that_is_broken_is_named_among_others() -> None:
    body = chat(messages=[user(image_part()), user(text_part("and"), image_part(), image_part(data_url(b"x")))])
    response = await Client(seeing_service(FakeDispatcher())).post(CHAT, body)
    assert (response.error["param"], response.error["code"]) == ("messages[1].content[2].image_url", "invalid_image")


@pytest.mark.parametrize("text", [PAD, f"{START}{PAD}{END}"])
async def test_a_text_cannot_take_the_place_of_an_image(text: str) -> None:
    body = chat(messages=[user(text_part(text), image_part())])
    response = await Client(seeing_service(FakeDispatcher())).post(CHAT, body)
    assert (response.status, response.error["param"]) == (400, "messages")
    assert "2 places for 1 images" in response.error["message"]


async def test_a_template_without_a_place_for_images_is_said_to_have_none() -> None:
    client = Client(seeing_service(FakeDispatcher(), template="{% for m in messages %}{{ m.content }}{% endfor %}"))
    response = await client.post(CHAT, chat(messages=[user(image_part())]))
    assert response.status == 400 and "0 places for 1 images" in response.error["message"]


async def test_too_many_images_are_refused() -> None:
    client = Client(seeing_service(FakeDispatcher(), limits=ImageLimits(max_num_images=2)))
    response = await client.post(CHAT, chat(messages=[user(*[image_part("data:")] * 3)]))
    assert response.status == 400 and "has 3 images; at most 2" in response.error["message"]


async def test_a_prompt_too_long_because_of_its_images_is_the_usual_400() -> None:
    client = Client(seeing_service(FakeDispatcher()))
    file = image_file(picture(768, 768))
    response = await client.post(CHAT, chat(messages=[user(image_part(data_url(file)))]))
    assert (response.status, response.error["code"]) == (400, "context_length_exceeded")
    assert str(MAX_CONTEXT_TOKENS) in response.error["message"] and "23" in response.error["message"]


async def test_a_body_may_be_larger_by_its_images() -> None:
    limits = ImageLimits(max_image_bytes=200_000)
    body = chat(messages=[user(image_part(data_url(SMALL + bytes(150_000))))])
    assert (await Client(make_service(FakeDispatcher())).post(CHAT, body)).status == 413
    assert len((await ask(body, limits=limits))[1][0]) > 150_000


async def test_a_model_that_reads_text_only_says_so() -> None:
    response = await Client(make_service(FakeDispatcher())).post(CHAT, chat(messages=[user(image_part())]))
    assert (response.status, response.error["code"]) == (400, "unsupported_parameter")
    assert response.error["param"] == "messages[0].content"
    assert "reads text only" in response.error["message"]


async def test_the_log_and_the_metrics_name_images(caplog: pytest.LogCaptureFixture) -> None:
    service = seeing_service(FakeDispatcher())
    client = Client(service)
    with caplog.at_level(logging.INFO):
        await client.post(CHAT, chat(messages=[user(image_part(), image_part())]))
    (line,) = (record for record in caplog.records if record.message == "request ended")
    assert line.__dict__["figures"]["num_images"] == 2
    (shown,) = (await client.get("/cluster/requests")).json["requests"]
    assert shown["num_images"] == 2
    metrics = generate_latest(service.metrics.registry).decode()
    assert 'penstock_images_total{outcome="read",source="data"} 2.0' in metrics


class StuckFetcher(Fetcher):
    """A server that never answers."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def fetch(self, url: str, spend: Spend) -> bytes:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


async def test_a_client_that_leaves_ends_the_fetch_of_its_images() -> None:
    fetcher, dispatcher = StuckFetcher(), FakeDispatcher()
    client = Client(seeing_service(dispatcher, fetcher=fetcher))
    asking = asyncio.create_task(client.post(CHAT, chat(messages=[user(image_part("http://host/"))])))
    await fetcher.began.wait()
    client.left.set()
    assert (await asking).status == 499
    assert fetcher.ended.is_set() and not dispatcher.requests
