"""Chat templates follow Hugging Face's conventions, inside a sandbox."""

import pytest

from penstock.core.errors import InvalidRequest, UnsupportedModel
from penstock.gateway.text.chat_template import ChatTemplate

MESSAGES = [{"role": "user", "content": "<Hi> & bye"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", "<s><Hi> & bye"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "<Hi> & bye"}]'),
        ("{% if add_generation_prompt %}A:{% endif %}", "A:"),
        ("{{ strftime_now('%Y') }}", "1970"),
        ("{% for m in messages %}\n  {% generation %}{{ m.role }}{% endgeneration %}\n{% endfor %}\n", "user"),
        ("{% for m in [1, 2] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{{ tools is defined }}", "False"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = 3 %}{{ ns.n }}", "3"),
    ],
)
def test_renders_what_templates_of_models_use(source: str, expected: str) -> None:
    template = ChatTemplate(source, {"bos_token": "<s>"}, lambda: 43_200.0)
    assert template.render(MESSAGES, {"add_generation_prompt": True}) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[5].content }}{{ messages[5].content.x }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_that_fails_is_the_clients_error(source: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template cannot render"):
        ChatTemplate(source, {}).render(MESSAGES, {})


def test_a_template_that_does_not_compile_stops_the_process() -> None:
    with pytest.raises(UnsupportedModel, match="cannot be compiled"):
        ChatTemplate("{% if %}", {})
