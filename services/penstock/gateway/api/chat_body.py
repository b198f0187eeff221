"""The body of /v1/chat/completions."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator

from penstock.core.errors import InvalidRequest
from penstock.gateway.api.content import Content, ImagePart, for_template, images_in, parse_content
from penstock.gateway.api.json_body import RequestBody
from penstock.gateway.api.sampling_body import MAX_NUM_TOP_LOGPROBS, SamplingBody
from penstock.gateway.text.content_form import ContentForm


def _without_empty(value: Any) -> Any:
    """Messages as clients echo them back carry `"tool_calls": null` or `[]`, which say nothing."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None and (item != [] or key == "content")}


class Message(RequestBody):
    """One turn. `developer` is OpenAI's newer word for `system`, and templates know only the older one."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Content, PlainValidator(parse_content)]
    name: str | None = None

    def images(self) -> Iterator[tuple[int, ImagePart]]:
        """Each image with its place among the parts of the content."""
        return images_in(self.content)

    def for_template(self, form: ContentForm) -> dict[str, object]:
        """As Hugging Face templates read it."""
        role = "system" if self.role == "developer" else self.role
        turn: dict[str, object] = {"role": role, "content": for_template(self.content, form)}
        return turn if self.name is None else turn | {"name": self.name}


class Conversation(RequestBody):
    """What /tokenize and chat need to make a prompt."""

    messages: Annotated[list[Annotated[Message, BeforeValidator(_without_empty)]], Field(min_length=1)]
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    def turns(self, form: ContentForm) -> list[dict[str, object]]:
        return [message.for_template(form) for message in self.messages]

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

    def without_messages(self) -> Self:
        """What is needed once the prompt is made: messages may have megabytes of images in them."""
        return self.model_copy(update={"messages": []})

    @property
    def token_limit(self) -> int | None:
        """Both names mean the same; the newer one wins, as at OpenAI."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None
