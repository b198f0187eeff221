"""Requests by scenario to groups, each with its own dispatcher."""

from typing import Any

from penstock.core.policies.scenario_groups import parse_rule
from penstock.core.types import Request, Role, SamplingParams
from penstock.gateway.grouped_dispatcher import GroupedDispatcher
from tests.gateway_fakes import FakeDispatcher, worker


def request(num_tokens: int) -> Request:
    return Request(f"r-{num_tokens}", 0, "", 0, range(num_tokens), SamplingParams(max_tokens=8))


async def test_each_request_goes_to_the_group_of_its_scenario() -> None:
    groups = {name: FakeDispatcher(is_manual=True) for name in ("default", "long", "acme")}
    groups["long"].num_requests, groups["acme"].num_waiting, groups["acme"].num_encoding = 3, 2, 1
    groups["long"].workers = [worker("p0", Role.PREFILL)]
    dispatchers: Any = groups
    rules = (parse_rule("acme:tenant=acme"), parse_rule("long:prompt_tokens>=100"))
    grouped = GroupedDispatcher(dispatchers, rules, "default")
    grouped.generate(request(10), "bob")
    grouped.generate(request(200), "bob")
    grouped.generate(request(300), "acme")
    sent = {name: [one.request_id for one in group.requests] for name, group in groups.items()}
    assert sent == {"default": ["r-10"], "long": ["r-200"], "acme": ["r-300"]}
    assert (grouped.num_requests, grouped.num_waiting, grouped.num_encoding) == (3, 2, 1)
    assert [view.workers[0].ref.worker_id for view in grouped.membership()] == ["p0"]
