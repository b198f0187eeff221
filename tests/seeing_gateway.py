"""A gateway whose model sees: vision settings, a tokenizer with places for images, bodies with images in them."""

import base64
from functools import cache
from typing import Any

import tokenizers
from prometheus_client import CollectorRegistry

from penstock.gateway.api.service import ServedModel, Service
from penstock.gateway.images.fetch import Fetcher
from penstock.gateway.images.reader import ImageLimits, ImageReader
from penstock.gateway.images.vision import Vision
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.text.chat_template import ChatTemplate
from penstock.gateway.text.tokenizer import Tokenizer
from tests.gateway_fakes import MAX_CONTEXT_TOKENS, MODEL, FakeDispatcher, byte_level_tokenizer, make_service
from tests.image_files import image_file

VISION_TOKENS = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"]
# in the form of Qwen2.5-VL's
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH_SIZE, MERGE_SIZE = 8, 2


@cache
def seeing_vocabulary() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_str(byte_level_tokenizer().to_str())
    tokenizer.add_special_tokens(VISION_TOKENS)
    return tokenizer


@cache
def seeing_tokenizer(template: str = TEMPLATE) -> Tokenizer:
    return Tokenizer(seeing_vocabulary(), ChatTemplate(template, {}, lambda: 0.0))


def placeholder_id() -> int:
    return seeing_tokenizer().token_bytes.index(b"<|image_pad|>")


def make_vision(**changes: Any) -> Vision:
    values: dict[str, Any] = {
        "placeholder_id": placeholder_id(),
        "patch_size": PATCH_SIZE,
        "merge_size": MERGE_SIZE,
        "min_pixels": 16 * 16,
        "max_pixels": 1024 * 1024,
        "settings": b"{}",
    }
    return Vision(**{**values, **changes})


def make_reader(
    limits: ImageLimits | None = None, fetcher: Fetcher | None = None, metrics: GatewayMetrics | None = None
) -> ImageReader:
    metrics = metrics or GatewayMetrics(CollectorRegistry(), MODEL)
    return ImageReader(make_vision(), limits or ImageLimits(), fetcher, metrics, lambda: 100.0)


def seeing_changes(
    limits: ImageLimits | None = None, fetcher: Fetcher | None = None, template: str = TEMPLATE
) -> dict[str, Any]:
    """What `make_service` is told to make a model see."""
    metrics = GatewayMetrics(CollectorRegistry(), MODEL)
    model = ServedModel(MODEL, seeing_tokenizer(template), MAX_CONTEXT_TOKENS, 1_700_000_000, make_vision())
    return {"model": model, "metrics": metrics, "images": make_reader(limits, fetcher, metrics)}


def seeing_service(dispatcher: FakeDispatcher, **changes: Any) -> Service:
    return make_service(dispatcher, **seeing_changes(**changes))


def data_url(file: bytes | None = None, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(file if file is not None else image_file()).decode()}"


def image_part(url: str | None = None, **options: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url if url is not None else data_url(), **options}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    """A message."""
    return {"role": "user", "content": list(parts)}
