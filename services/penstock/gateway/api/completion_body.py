"""The body of /v1/completions."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from penstock.gateway.api.sampling_body import MAX_NUM_TOP_LOGPROBS, SamplingBody

OPENAI_DEFAULT_MAX_TOKENS = 16

Prompt = str | list[int]


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and 0 <= item < 2**31 for item in value)


def _prompts(value: Any) -> Any:
    """A string, a list of strings, of token ids, or of lists of token ids, as a list of prompts."""
    prompts = [value] if isinstance(value, str) or _is_tokens(value) else value
    if not isinstance(prompts, list) or not all(isinstance(item, str) or _is_tokens(item) for item in prompts):
        raise ValueError("must be a string, a list of strings, a list of token ids or a list of lists of token ids")
    if not prompts or "" in prompts:
        raise ValueError("must not be empty")
    return prompts


class CompletionBody(SamplingBody):
    """A completion request."""

    prompt: Annotated[list[Any], BeforeValidator(_prompts)]  # of Prompt; checked above
    logprobs: Annotated[int, Field(ge=0, le=MAX_NUM_TOP_LOGPROBS)] | None = None
    add_special_tokens: bool = True  # to prompts that are text
