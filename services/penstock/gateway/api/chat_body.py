"""The body of /v1/chat/completions."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from penstock.core.errors import InvalidRequest
from penstock.gateway.api.json_body import UNSUPPORTED, RequestBody
from penstock.gateway.api.sampling_body import MAX_NUM_TOP_LOGPROBS, SamplingBody


def _joined_text(value: Any) -> Any:
    """Content parts of type text, joined by line breaks as vLLM joins them."""
    if not isinstance(value, list):
        return value
    if not value:
        raise ValueError("must have at least one part")
    texts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise ValueError("should be a string or a list of parts, each with a 'type'")
        if kind != "text":
            raise PydanticCustomError(
                UNSUPPORTED,
                "this model reads text only, and the message has a part of type '{kind}'",
                {"kind": kind[:32]},
            )
        if not isinstance(part.get("text"), str):
            raise ValueError("must have a string 'text' in each part of type text")
        texts.append(part["text"])
    return "\n".join(texts)


def _without_empty(value: Any) -> Any:
    """Messages as clients echo them back carry `"tool_calls": null` or `[]`, which say nothing."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None and (item != [] or key == "content")}


class Message(RequestBody):
    """One turn. `developer` is OpenAI's newer word for `system`, and templates know only the older one."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined_text)]
    name: str | None = None

    def for_template(self) -> dict[str, str]:
        """As Hugging Face templates read it."""
        turn = {"role": "system" if self.role == "developer" else self.role, "content": self.content}
        return turn if self.name is None else turn | {"name": self.name}


class Conversation(RequestBody):
    """What /tokenize and chat need to make a prompt."""

    messages: Annotated[list[Annotated[Message, BeforeValidator(_without_empty)]], Field(min_length=1)]
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    def turns(self) -> list[dict[str, str]]:
        return [message.for_template() for message in self.messages]

    def template_variables(self) -> dict[str, Any]:
        """What the template sees besides the messages; a client may not replace those."""
        if reserved := {"messages", "self"} & self.chat_template_kwargs.keys():
            raise InvalidRequest(f"'chat_template_kwargs' must not set '{reserved.pop()}'.", "chat_template_kwargs")
        return {**self.chat_template_kwargs, "add_generation_prompt": self.add_generation_prompt}


class ChatBody(Conversation, SamplingBody):
    """A chat request."""

    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_NUM_TOP_LOGPROBS)] | None = None

    @property
    def token_limit(self) -> int | None:
        """Both names mean the same; the newer one wins, as at OpenAI."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None
