"""A gateway without workers: a dispatcher that says what a test wants, a small tokenizer, an ASGI client."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
import tokenizers
from prometheus_client import CollectorRegistry
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from penstock.core.errors import PenstockError
from penstock.core.types import FinishReason, Request, Role, SampledToken, TokenLogprobs, WorkerRef, WorkerState
from penstock.gateway.api.app import App
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.request_log import RequestLog
from penstock.gateway.api.service import ApiLimits, ServedModel, Service
from penstock.gateway.generation import Generation
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.text.chat_template import ChatTemplate
from penstock.gateway.text.tokenizer import Tokenizer
from penstock.wire.messages import MembershipView

MODEL = "tiny"
MAX_CONTEXT_TOKENS = 512
SPECIAL_TOKENS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
EOS = SPECIAL_TOKENS.index("<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}{% if message.content == 'refuse me' %}{{ raise_exception('not this') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the river runs down to the mill.",
    "Water turns the wheel; the wheel turns the stone. How many tokens does a sentence have?",
    "Größe, naïve café, 東京で水車が回る。 🙂🙃 Привет, мир!",
]


@cache
def byte_level_tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return tokenizer


@cache
def tiny_tokenizer() -> Tokenizer:
    return Tokenizer(byte_level_tokenizer(), ChatTemplate(TEMPLATE, {"eos_token": "<|im_end|>"}, lambda: 0.0))


def tokens_of(text: str, num_top: int | None = None) -> list[SampledToken]:
    """`text` as an engine would emit it."""
    ids = byte_level_tokenizer().encode(text, add_special_tokens=False).ids
    return [SampledToken(token_id, _logprobs(token_id, num_top)) for token_id in ids]


def _logprobs(token_id: int, num_top: int | None) -> TokenLogprobs | None:
    if num_top is None:
        return None
    top_ids = [token_id, *(other for other in range(40, 80) if other != token_id)][:num_top]
    return TokenLogprobs(-0.5, tuple(top_ids), tuple(-0.5 - rank for rank in range(num_top)))


@dataclass
class FakeDispatcher:
    """Says `text` to every request, one token per turn of the loop; or nothing, and the test delivers by hand."""

    text: str = "Hello, world!"
    finish: FinishReason = FinishReason.STOP  # after an end-of-sequence token; LENGTH: after max_tokens
    error: PenstockError | None = None  # instead of the end
    is_manual: bool = False
    num_cached_tokens: int = 0
    workers: Sequence[WorkerState] = ()
    metrics_addresses: Sequence[str] = ()
    requests: list[Request] = field(default_factory=list)
    files: list[Sequence[bytes]] = field(default_factory=list)  # of each request
    generations: list[Generation] = field(default_factory=list)
    cancelled_ids: list[str] = field(default_factory=list)
    num_requests: int = 0
    num_waiting: int = 0
    num_encoding: int = 0

    def generate(self, request: Request, tenant: str = "", files: Sequence[bytes] = ()) -> Generation:
        generation = Generation(request.request_id, lambda: self.cancelled_ids.append(request.request_id))
        generation.num_cached_tokens = self.num_cached_tokens
        self.requests.append(request)
        self.files.append(files)
        self.generations.append(generation)
        if not self.is_manual:
            tokens = tokens_of(self.text, request.sampling.num_logprobs)
            if self.error is None and self.finish is FinishReason.STOP:
                tokens.append(SampledToken(EOS, _logprobs(EOS, request.sampling.num_logprobs)))
            self._say(generation, tokens[: request.sampling.max_tokens], 0, request.sampling.max_tokens)
        return generation

    def deliver(self, generation: Generation, position: int) -> None:
        """By hand: one token."""
        generation.deliver(position, tokens_of(self.text)[position])

    def _say(self, generation: Generation, tokens: Sequence[SampledToken], at: int, max_tokens: int) -> None:
        if generation.is_ended:
            return
        if at < len(tokens):
            generation.deliver(at, tokens[at])
        if at + 1 < len(tokens):
            asyncio.get_running_loop().call_soon(self._say, generation, tokens, at + 1, max_tokens)
        elif self.error is not None:
            generation.fail(self.error)
        else:
            generation.finish(FinishReason.LENGTH if len(tokens) == max_tokens else self.finish)

    def membership(self) -> Sequence[MembershipView]:
        view = MembershipView("default", self.workers, metrics_addresses=self.metrics_addresses)
        return (view,) if self.workers else ()


def worker(worker_id: str, role: Role, **state: Any) -> WorkerState:
    return WorkerState(WorkerRef(worker_id, 7, "127.0.0.1:1"), role, model=MODEL, **state)


def make_service(
    dispatcher: FakeDispatcher, api_keys: Iterable[str] = (), limits: ApiLimits | None = None, **changes: Any
) -> Service:
    values: dict[str, Any] = {
        "gateway_id": "gateway-0",
        "model": ServedModel(MODEL, tiny_tokenizer(), MAX_CONTEXT_TOKENS, 1_700_000_000),
        "dispatcher": dispatcher,
        "metrics": GatewayMetrics(CollectorRegistry(), MODEL),
        "keys": ApiKeys(tuple(api_keys)),
        "limits": limits or ApiLimits(max_body_bytes=100_000),
        "now_s": lambda: 100.0,
        "wall_s": lambda: 1_700_000_000.5,
        "is_stopping": lambda: False,
    }
    values["requests"] = RequestLog(values["metrics"])
    return Service(**{**values, **changes})


@dataclass
class Response:
    """What the app sent."""

    status: int
    headers: Mapping[str, str]
    parts: Sequence[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event; [DONE] stays text."""
        pieces = self.body.decode().split("\n\n")
        assert pieces.pop() == "", "the stream ends with an event's end"
        assert all(piece.startswith("data: ") for piece in pieces)
        return [data if data == "[DONE]" else orjson.loads(data) for piece in pieces if (data := piece[6:])]


class Client:
    """Calls an app in the loop of the test, without HTTP."""

    def __init__(self, service: Service) -> None:
        self._app = App(service)
        self.left = asyncio.Event()  # set: the client has left

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Response:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.call("POST", path, [data], headers or {})

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        return await self.call("GET", path, [b""], headers or {})

    async def call(self, method: str, path: str, parts: Sequence[bytes], headers: Mapping[str, str]) -> Response:
        incoming = list(parts)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not incoming:
                await self.left.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": incoming.pop(0), "more_body": bool(incoming)}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]
        path, _, query = path.partition("?")
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}
        await self._app(scope, receive, send)
        start, *bodies = sent
        assert not bodies[-1].get("more_body", False), "the answer is complete"
        answered = {key.decode(): value.decode() for key, value in start["headers"]}
        return Response(start["status"], answered, [message.get("body", b"") for message in bodies])


def chat(**options: Any) -> dict[str, Any]:
    """A chat body."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **options}
