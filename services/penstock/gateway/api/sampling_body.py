"""Options that chat and completions share: OpenAI's with their ranges, and vLLM's names for what OpenAI lacks."""

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from penstock.core.errors import InvalidRequest
from penstock.core.types import SamplingParams
from penstock.gateway.api.json_body import UNSUPPORTED, RequestBody

MAX_NUM_STOPS = 32
MAX_STOP_CHARACTERS = 1024
MAX_NUM_TOP_LOGPROBS = 20
_UINT64 = 2**64


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _without_obfuscation(value: Any) -> Any:
    if value:
        raise PydanticCustomError(UNSUPPORTED, "this server does not pad streams")
    return False


class StreamOptions(RequestBody):
    """What a stream says besides its text."""

    include_usage: bool = False
    include_obfuscation: Annotated[bool, BeforeValidator(_without_obfuscation)] = False


class SamplingBody(RequestBody):
    """Everything that says how tokens are drawn and when to stop; both endpoints extend it."""

    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1024)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] = 0  # -1, as vLLM spells "off", and 0 are the same
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=-(2**63), lt=_UINT64)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]],
        Field(max_length=MAX_NUM_STOPS),
        BeforeValidator(_listed),
    ] = Field(default_factory=list)
    stop_token_ids: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=1024)] = Field(
        default_factory=list
    )
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    return_token_ids: bool = False  # vLLM's: adds `token_ids` to choices and `prompt_token_ids`

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", "stream_options")
        return self

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, max_tokens: int, num_logprobs: int | None, vocab_size: int) -> SamplingParams:
        """What the engine is told; the seed is each sequence's own and set later."""
        if self.min_tokens > max_tokens:
            raise InvalidRequest(
                f"'min_tokens' ({self.min_tokens}) must not exceed the {max_tokens} output tokens.", "min_tokens"
            )
        check_token_ids(self.stop_token_ids, vocab_size, "stop_token_ids")
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(self.top_k, 0),
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self._logit_bias(vocab_size),
            max_tokens=max_tokens,
            min_tokens=self.min_tokens,
            stop_token_ids=tuple(self.stop_token_ids),
            ignore_eos=self.ignore_eos,
            num_logprobs=num_logprobs,
        )

    def _logit_bias(self, vocab_size: int) -> tuple[tuple[int, float], ...]:
        if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in self.logit_bias):
            raise InvalidRequest("The keys of 'logit_bias' must be token ids.", "logit_bias")
        biases = {int(key): bias for key, bias in self.logit_bias.items()}
        check_token_ids(list(biases), vocab_size, "logit_bias")
        return tuple(biases.items())

    def seeds(self, num_prompts: int) -> list[int]:
        """A seed for each choice, prompt by prompt.

        A given seed makes choice 0 of every prompt draw what it would draw alone, and choice i what i derives from it.
        Without one, each sequence has its own.
        """
        if self.seed is None:
            return [secrets.randbits(64) for _ in range(num_prompts * self.n)]
        return [derived_seed(self.seed % _UINT64, choice) for _ in range(num_prompts) for choice in range(self.n)]


def derived_seed(seed: int, choice: int) -> int:
    """The seed of the choice-th answer to one prompt: splitmix64's stream, except that choice 0 keeps the seed."""
    if choice == 0:
        return seed
    mixed = (seed + choice * 0x9E3779B97F4A7C15) % _UINT64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % _UINT64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % _UINT64
    return mixed ^ (mixed >> 31)


def check_token_ids(token_ids: Sequence[int], vocab_size: int, param: str) -> None:
    """Refuse ids that no token has."""
    if token_ids and max(token_ids) >= vocab_size:
        raise InvalidRequest(
            f"'{param}' names token {max(token_ids)}, but the vocabulary has {vocab_size} tokens.", param
        )
