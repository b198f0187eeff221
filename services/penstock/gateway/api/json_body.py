"""Request bodies: bytes to a frozen type, once; whatever is wrong becomes one sentence that names the parameter."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.core.errors import InvalidRequest, PenstockError, UnsupportedParameter

UNSUPPORTED = "unsupported_parameter"  # pydantic error type of our own validators
_NOT_OFFERED = "this server does not offer it"

# Meaningless for the answer by their own definition: labels for the caller's or the provider's books, cache hints.
_HARMLESS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"})

# Options that are not offered, at the value that asks for nothing.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),  # without tools both say nothing
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "use_beam_search": (False,),
    "prompt_logprobs": (0,),
}

Body = TypeVar("Body", bound="RequestBody")


class RequestBody(BaseModel):
    """Base of all bodies: exact types (no "1" for 1), finite numbers, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def parse_body(cls: type[Body], raw: bytes) -> Body:
    """The body as `cls`."""
    return parse_object(cls, load_object(raw))


def load_object(raw: bytes) -> dict[str, Any]:
    """The body as a JSON object."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return data


def parse_object(cls: type[Body], data: Mapping[str, Any]) -> Body:
    """A JSON object as `cls`. null means "not given", as for OpenAI."""
    given = {key: value for key, value in data.items() if value is not None}
    for key in [key for key in given if key not in cls.model_fields]:
        if key not in _HARMLESS and given[key] not in _NEUTRAL.get(key, ()):
            raise UnsupportedParameter(key[:64], _NOT_OFFERED)
        del given[key]
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        raise _first_error(error) from error


def _first_error(error: ValidationError) -> PenstockError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = _path(first["loc"])
    kind, message = first["type"], first["msg"]
    if kind == "missing":
        return InvalidRequest(f"Missing required parameter: '{path}'.", path)
    if kind == "extra_forbidden":
        return UnsupportedParameter(path, _NOT_OFFERED)
    if kind == UNSUPPORTED:
        return UnsupportedParameter(path, message)
    sentence = message.removeprefix("Value error, ").removeprefix("Input ").removesuffix(".")
    return InvalidRequest(f"Invalid value for '{path}': it {sentence}.", path)


def _path(location: tuple[Any, ...]) -> str:
    """("messages", 0, "content") as messages[0].content."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}" if path else str(part)[:64]
    return path
