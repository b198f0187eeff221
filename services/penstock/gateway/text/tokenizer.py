"""The tokenizer of a model folder: text to tokens, tokens to bytes, messages to a prompt."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import tokenizers

from penstock.core.errors import InvalidRequest, UnsupportedModel
from penstock.gateway.text.chat_template import ChatTemplate
from penstock.gateway.text.content_form import ContentForm
from penstock.gateway.text.detokenizer import Detokenizer
from penstock.gateway.text.token_bytes import token_bytes_function

# Encoding takes about a microsecond per character; longer texts go to a thread, for it would hold up every stream.
_INLINE_CHARACTERS = 2000


class Tokenizer:
    """Encodes, decodes and renders; shared by all requests, changed by none."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, template: ChatTemplate | None, vocab_size: int = 0) -> None:
        self._tokenizer = tokenizer
        self._template = template
        to_bytes = token_bytes_function(orjson.loads(tokenizer.to_str())["decoder"])
        special_ids = {id_ for id_, added in tokenizer.get_added_tokens_decoder().items() if added.special}
        vocab = tokenizer.get_vocab(with_added_tokens=True)
        # the model's output layer may be wider than the vocabulary; such tokens have no text
        self.vocab_size = max(vocab_size, max(vocab.values()) + 1)
        self.token_bytes = [b""] * self.vocab_size  # by token id, special tokens by their name
        for token, token_id in vocab.items():
            self.token_bytes[token_id] = to_bytes(token)
        self._text_bytes = [b"" if id_ in special_ids else data for id_, data in enumerate(self.token_bytes)]

    async def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`, with what the tokenizer itself adds (such as a first <s>) if asked for."""
        if len(text) <= _INLINE_CHARACTERS:
            return self._encode(text, add_special_tokens)
        return await asyncio.to_thread(self._encode, text, add_special_tokens)

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a whole sequence, special tokens included."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def token_name(self, token_id: int) -> str:
        """The token as the vocabulary spells it."""
        return self._tokenizer.id_to_token(token_id) or ""

    def detokenizer(self, skip_special_tokens: bool = True) -> Detokenizer:
        """A fresh one for one sequence."""
        return Detokenizer(self._text_bytes if skip_special_tokens else self.token_bytes)

    @property
    def content_form(self) -> ContentForm:
        """What `render_chat` is best given as a message's content."""
        return self._template.content_form if self._template is not None else ContentForm.TEXT

    def render_chat(self, messages: Sequence[Mapping[str, object]], variables: Mapping[str, Any]) -> str:
        """The prompt text of a conversation."""
        if self._template is None:
            raise InvalidRequest("This model has no chat template; use /v1/completions.", "messages")
        return self._template.render(messages, variables)


def load_tokenizer(folder: Path, vocab_size: int = 0) -> Tokenizer:
    """Read tokenizer.json, and the chat template from chat_template.jinja or tokenizer_config.json."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UnsupportedModel(f"{folder} has no tokenizer.json.")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Tokenizer(tokenizer, _load_template(folder), vocab_size)


def _load_template(folder: Path) -> ChatTemplate | None:
    config_file, template_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config: dict[str, Any] = json.loads(config_file.read_text("utf8")) if config_file.is_file() else {}
    source = template_file.read_text("utf8") if template_file.is_file() else config.get("chat_template")
    if isinstance(source, list):  # several by name, of which the one called "default" is for plain chat
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    if source is None:
        return None
    special_tokens = {
        key: value["content"] if isinstance(value, dict) else value
        for key, value in config.items()
        if key.endswith("_token") and isinstance(value, str | dict)
    }
    return ChatTemplate(source, special_tokens)
