"""Which group of workers serves a request: the first rule its traffic fits, else the default group.

P/D-Serve (arXiv 2408.08147) organises prefill and decode workers in groups, one per scenario: a class of traffic with
similar lengths and shared prefixes, so that each group has the ratio its class needs. How it classifies is not
published; here an operator says it, by what a gateway knows before it routes:

    GROUP:CONDITION&CONDITION...      long:prompt_tokens>=8000      acme:tenant=acme&max_tokens<500
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import InvalidSettings

_CONDITION = re.compile(r"(\w+)(>=|<=|=|<|>)(.+)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What rules may speak of; the names of its fields are the words of the rules."""

    tenant: str = ""
    prompt_tokens: int = 0
    max_tokens: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """Compares one field of the traffic with a value."""

    name: str
    comparison: str
    value: str | int

    def holds(self, traffic: Traffic) -> bool:
        return _COMPARE[self.comparison](getattr(traffic, self.name), self.value)


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A group, and what has to hold for it, all of it."""

    group: str
    conditions: tuple[Condition, ...]


def choose_group(traffic: Traffic, rules: Sequence[GroupRule], default: str) -> str:
    """The group of the first rule whose conditions all hold."""
    for rule in rules:
        if all(condition.holds(traffic) for condition in rule.conditions):
            return rule.group
    return default


def tenants_of(rules: Sequence[GroupRule]) -> set[str]:
    """Those that rules name."""
    return {str(item.value) for rule in rules for item in rule.conditions if item.name == "tenant"}


def parse_rule(text: str) -> GroupRule:
    """GROUP:CONDITION&CONDITION... as a rule; raises InvalidSettings with the part that is wrong."""
    group, separator, conditions = text.partition(":")
    if not (separator and group.strip() and conditions.strip()):
        raise InvalidSettings("group_rules", text, "must be GROUP:CONDITION&CONDITION...")
    return GroupRule(group.strip(), tuple(_parse_condition(part.strip(), text) for part in conditions.split("&")))


def _parse_condition(part: str, text: str) -> Condition:
    found = _CONDITION.fullmatch(part)
    names = Traffic.__dataclass_fields__
    if found is None or found[1] not in names:
        reason = f"'{part}' is not NAME=VALUE (or >=, <=, <, >) with a name of {', '.join(names)}"
        raise InvalidSettings("group_rules", text, reason)
    name, comparison, value = found.groups()
    if name == "tenant":
        if comparison != "=":
            raise InvalidSettings("group_rules", text, "a tenant can only be equal to something")
        return Condition(name, comparison, value)
    if not re.fullmatch(r"-?\d+", value):
        raise InvalidSettings("group_rules", text, f"'{value}' is not a whole number")
    return Condition(name, comparison, int(value))
