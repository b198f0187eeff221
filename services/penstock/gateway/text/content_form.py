"""How a chat template takes the content of a message: as text, as a list of parts, or as either.

Templates do not say; what they do with the content tells, as it does for other servers:

    {{ message.content }}                                       text
    {% for part in message['content'] %}                        parts
    {% if message.content is string %} ... {% for part in ...   either
"""

from enum import Enum

from jinja2 import nodes


class ContentForm(Enum):
    """What a template can be given."""

    TEXT = "text"
    PARTS = "parts"
    EITHER = "either"


def content_form(template: nodes.Template) -> ContentForm:
    """Of a parsed template."""
    names = _names_of_content(template)
    if not any(_is_content(loop.iter, names) for loop in template.find_all(nodes.For)):
        return ContentForm.TEXT
    tests = (test for test in template.find_all(nodes.Test) if test.name == "string")
    return ContentForm.EITHER if any(_is_content(test.node, names) for test in tests) else ContentForm.PARTS


def _names_of_content(template: nodes.Template) -> set[str]:
    """Variables that hold a message's content; macros that take it call their parameter so."""
    names = {"content"}
    for assign in template.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and _is_content(assign.node, names):
            names.add(assign.target.name)
    return names


def _is_content(expression: nodes.Node, names: set[str]) -> bool:
    while isinstance(expression, nodes.Filter) and expression.node is not None:
        expression = expression.node
    if isinstance(expression, nodes.Getattr):
        return expression.attr == "content"
    if isinstance(expression, nodes.Getitem):
        return isinstance(expression.arg, nodes.Const) and expression.arg.value == "content"
    return isinstance(expression, nodes.Name) and expression.name in names
