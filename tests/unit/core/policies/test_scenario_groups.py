"""Groups by the traffic they are for."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.policies.scenario_groups import Traffic, choose_group, parse_rule, tenants_of

RULES = tuple(map(parse_rule, ("acme:tenant=acme&prompt_tokens<500", "long:prompt_tokens>=8000", "batch:priority<0")))


@pytest.mark.parametrize(
    ("case", "traffic", "group"),
    [
        ("nothing fits", Traffic("bob", 100), "default"),
        ("every condition must hold", Traffic("acme", 600), "default"),
        ("the first rule that fits", Traffic("acme", 499, priority=-1), "acme"),
        ("the bound is within", Traffic("bob", 8000), "long"),
        ("just below it is not", Traffic("bob", 7999), "default"),
        ("negative numbers", Traffic("bob", 100, priority=-1), "batch"),
    ],
)
def test_chooses_the_first_rule_that_fits(case: str, traffic: Traffic, group: str) -> None:
    assert choose_group(traffic, RULES, "default") == group, case


def test_names_the_tenants_that_rules_speak_of() -> None:
    assert tenants_of(RULES) == {"acme"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("long", "must be GROUP:CONDITION"),
        (":tenant=a", "must be GROUP:CONDITION"),
        ("long:", "must be GROUP:CONDITION"),
        ("long:words>3", "'words>3' is not NAME=VALUE"),
        ("long:prompt_tokens", "'prompt_tokens' is not NAME=VALUE"),
        ("long:prompt_tokens>=many", "'many' is not a whole number"),
        ("long:tenant>a", "a tenant can only be equal"),
    ],
)
def test_a_rule_that_means_nothing_names_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says):
        parse_rule(text)
