"""What a chat template takes as content shows in what it does with it."""

import pytest

from penstock.gateway.text.chat_template import ChatTemplate
from penstock.gateway.text.content_form import ContentForm
from tests.gateway_fakes import TEMPLATE as TEXT_TEMPLATE
from tests.seeing_gateway import TEMPLATE as SEEING_TEMPLATE

TEXT, PARTS, EITHER = ContentForm.TEXT, ContentForm.PARTS, ContentForm.EITHER
LOOP = "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (TEXT_TEMPLATE, TEXT),
        ("{% for message in messages %}{{ message['content'] | trim }}{% endfor %}", TEXT),
        ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% endif %}{% endfor %}", TEXT),
        (SEEING_TEMPLATE, EITHER),
        (f"{{% for message in messages %}}{LOOP}{{% endfor %}}", PARTS),
        ("{% for m in messages %}{% for p in m.content | selectattr('type') %}{% endfor %}{% endfor %}", PARTS),
        ("{% for m in messages %}{% set c = m.content %}{% for p in c %}{{ p }}{% endfor %}{% endfor %}", PARTS),
        (
            "{% macro show(content) %}{% if content is string %}{{ content }}{% else %}{% for item in content %}"
            "{{ item.text }}{% endfor %}{% endif %}{% endmacro %}"
            "{% for message in messages %}{{ show(message.content) }}{% endfor %}",
            EITHER,
        ),
    ],
)
def test_the_form_is_read_off_the_template(source: str, form: ContentForm) -> None:
    assert ChatTemplate(source, {}).content_form is form
