"""What the handlers stand on: the model, the dispatcher, the keys, the limits. Made once per process."""

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.core.errors import ContextTooLong, InvalidRequest, ModelNotFound
from penstock.core.timeline import Slo
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.request_log import RequestLog
from penstock.gateway.generation import Dispatcher
from penstock.gateway.images.reader import ImageReader
from penstock.gateway.images.vision import Vision
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.text.tokenizer import Tokenizer
from penstock.runtime.tracing import OFF, Tracer


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The one model of this gateway."""

    name: str
    tokenizer: Tokenizer
    max_context_tokens: int
    created_s: int  # wall clock
    vision: Vision | None = None

    def check_name(self, name: str) -> None:
        """A request that names no model means this one."""
        if name and name != self.name:
            raise ModelNotFound(name[:128], self.name)

    def output_limit(self, num_prompt_tokens: int, asked: int | None, default: int, param: str) -> int:
        """Tokens the answer may have. What was asked for must fit; a default is cut to what is left."""
        if num_prompt_tokens == 0:
            raise InvalidRequest(f"'{param}' has no tokens.", param)
        num_tokens = num_prompt_tokens + (1 if asked is None else asked)
        if num_tokens > self.max_context_tokens:
            raise ContextTooLong(num_tokens, self.max_context_tokens, param)
        return min(default, self.max_context_tokens - num_prompt_tokens) if asked is None else asked


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What one request may ask for."""

    default_max_tokens: int = 1024
    max_body_bytes: int = 4 * 2**20
    max_num_choices: int = 16

    def check_num_choices(self, num_choices: int) -> None:
        """Refuse before any prompt is tokenised."""
        if num_choices > self.max_num_choices:
            raise InvalidRequest(
                f"The request asks for {num_choices} choices; at most {self.max_num_choices} can be made at once.",
                "n",
            )


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a handler may need of its process."""

    gateway_id: str
    model: ServedModel
    dispatcher: Dispatcher
    metrics: GatewayMetrics
    keys: ApiKeys
    limits: ApiLimits
    now_s: Callable[[], float]
    wall_s: Callable[[], float]
    is_stopping: Callable[[], bool]
    requests: RequestLog
    tracer: Tracer = OFF
    images: ImageReader | None = None  # None: the model reads text only
    objectives: Slo = field(default_factory=Slo)  # of requests that name none

    @property
    def max_chat_bytes(self) -> int:
        """Of a body that may have images in it."""
        return self.limits.max_body_bytes + (self.images.limits.max_body_bytes if self.images else 0)
