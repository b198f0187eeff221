"""An OpenAI-compatible endpoint: its address, what it serves, and how it counts tokens."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from penstock.core.errors import InternalError, InvalidSettings, WorkerLost
from penstock_loadgen.exchange import Exchange
from penstock_loadgen.http_client import StreamingClient
from penstock_loadgen.prompts import PromptWriter

CHAT, COMPLETIONS = "chat", "completions"
PATHS = {CHAT: "/v1/chat/completions", COMPLETIONS: "/v1/completions"}
_PROBE_TIMEOUT_S = 60.0
_NUM_WORDS = (16, 144)
NUM_CALIBRATION_REQUESTS = len(_NUM_WORDS)


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """Where to send, and as what."""

    url: str
    api_key: str = ""
    model: str = ""  # empty: the first one that it lists
    api: str = CHAT
    forces_length: bool = True  # `ignore_eos`, which vLLM, SGLang and Penstock know and OpenAI itself refuses
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.api not in PATHS:
            raise InvalidSettings("api", self.api, f"must be one of {', '.join(PATHS)}")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidSettings("url", self.url, "must be http://HOST:PORT or https://HOST")

    def client(self, now_s: Callable[[], float]) -> StreamingClient:
        """Connections to it."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        prefix = parts.path.rstrip("/").removesuffix("/v1")  # people give either
        return StreamingClient(parts.hostname, port, now_s, tls, prefix)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the server counts: prompt tokens = num_frame_tokens + tokens_per_word * words."""

    tokens_per_word: float = 1.0
    num_frame_tokens: float = 0.0


async def served_model(spec: EndpointSpec, client: StreamingClient) -> str:
    """The name to ask for. Raises WorkerLost when nothing answers there."""
    if spec.model:
        return spec.model
    answer = await client.get("/v1/models", spec.headers, _PROBE_TIMEOUT_S)
    _require(answer, spec, "/v1/models")
    try:
        return str(orjson.loads(bytes(answer.body))["data"][0]["id"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise InternalError(f"{spec.url}/v1/models lists no model; name one with --model.") from error


async def calibrate(spec: EndpointSpec, client: StreamingClient, model: str) -> Calibration:
    """Two short requests whose prompts the server counts; without `usage` in its answers a word counts as a token."""
    writer = PromptWriter(0)
    few, more = [await _count(spec, client, model, writer.words("", n)) for n in _NUM_WORDS]
    if few is None or more is None or more <= few:
        return Calibration()
    tokens_per_word = (more - few) / (_NUM_WORDS[1] - _NUM_WORDS[0])
    return Calibration(tokens_per_word, max(0.0, few - tokens_per_word * _NUM_WORDS[0]))


async def _count(spec: EndpointSpec, client: StreamingClient, model: str, text: str) -> int | None:
    prompt = {"messages": [{"role": "user", "content": text}]} if spec.api == CHAT else {"prompt": text}
    body = orjson.dumps({"model": model, "max_tokens": 1, **prompt})
    answer = await client.post(PATHS[spec.api], body, keeps_body=True, headers=spec.headers, timeout_s=_PROBE_TIMEOUT_S)
    _require(answer, spec, PATHS[spec.api])
    try:
        return int(orjson.loads(bytes(answer.body))["usage"]["prompt_tokens"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _require(answer: Exchange, spec: EndpointSpec, path: str) -> None:
    if answer.is_success:
        return
    if not answer.status:
        raise WorkerLost(f"Nothing answers at {spec.url} ({answer.error}). Is a server running there? Else pass --url.")
    raise InternalError(f"{spec.url}{path} answered with {answer.error.rstrip('.')}.")
