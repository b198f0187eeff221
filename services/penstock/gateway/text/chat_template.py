"""A model's chat template: messages to prompt text, by the conventions of Hugging Face.

The sandbox keeps a template from a model folder away from Python's internals. Message contents are not escaped: text
that spells a special token becomes one, as in every server that follows these conventions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from penstock.core.errors import InvalidRequest, UnsupportedModel
from penstock.gateway.text.content_form import content_form
from penstock.runtime import clock


class _GenerationTag(Extension):
    """`{% generation %}` marks what an assistant says, for training; when serving it says nothing."""

    tags = {"generation"}  # noqa: RUF012  # the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One compiled template."""

    def __init__(
        self, source: str, special_tokens: Mapping[str, str], wall_s: Callable[[], float] = clock.wall_s
    ) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.fromtimestamp(wall_s()).strftime(form)
        try:
            self._template = environment.from_string(source)
            self.content_form = content_form(environment.parse(source))
        except jinja2.TemplateError as error:
            raise UnsupportedModel(f"The model's chat template cannot be compiled: {error}.") from error
        self._special_tokens = dict(special_tokens)  # bos_token, eos_token ... as templates name them

    def render(self, messages: Sequence[Mapping[str, object]], variables: Mapping[str, Any]) -> str:
        """The prompt text. `variables` such as add_generation_prompt win over nothing the template itself defines."""
        try:
            return self._template.render(messages=messages, **{**self._special_tokens, **variables})
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise InvalidRequest(
                f"The model's chat template cannot render these messages: {error}.", "messages"
            ) from error


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)  # jinja's own escapes HTML


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
