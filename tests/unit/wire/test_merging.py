"""Several stream messages made one."""

from typing import Any

import pytest

from penstock.core.errors import QueueFull
from penstock.core.kv_layout import KvLayout
from penstock.core.types import SampledToken, WorkerRef
from penstock.wire.merging import merge
from penstock.wire.messages import (
    DecodeCalls,
    Finished,
    FirstToken,
    Hello,
    LinkCalls,
    LinkEvents,
    LinkWelcome,
    MembershipView,
    PrefillCalls,
    PrefillEnded,
    PrefillEvents,
    RouteCalls,
    RouteEvents,
    StepOutputs,
)

HELLO = Hello("a", 1, 2)
WELCOME = LinkWelcome(WorkerRef("w", 1, "h:1"), [KvLayout(1, 1, 1, 16, 4, 8, "uint64")], [], "r")
REFUSED = PrefillEnded(1, QueueFull("Full."))


def said(message: Any) -> dict[str, Any]:
    """What a message says, without what it leaves out."""
    values = {name: getattr(message, name) for name in type(message).__slots__}
    return {
        name: list(value) if isinstance(value, tuple | list) else value
        for name, value in values.items()
        if value is not None and value is not False and value not in ((), [])
    }


@pytest.mark.parametrize(
    ("messages", "merged"),
    [
        ([LinkCalls(HELLO), LinkCalls(renewed=[1])], {"hello": HELLO, "renewed": [1]}),
        ([LinkCalls(released=[1]), LinkCalls(released=(2, 3))], {"released": [1, 2, 3]}),
        (
            [DecodeCalls(HELLO, [1]), DecodeCalls(), DecodeCalls(cancelled_handles=[2])],
            {"hello": HELLO, "cancelled_handles": [1, 2]},
        ),
        ([PrefillCalls(), PrefillCalls()], {}),
        ([RouteCalls(), RouteCalls(HELLO)], {"hello": HELLO}),
        ([LinkEvents(WELCOME), LinkEvents(started=[1])], {"welcome": WELCOME, "started": [1]}),
        ([LinkEvents(has_capacity=True), LinkEvents(revoked=[1])], {"has_capacity": True, "revoked": [1]}),
        ([LinkEvents(revoked=[1]), LinkEvents(has_capacity=True)], {"has_capacity": True, "revoked": [1]}),
        (
            [PrefillEvents(refused=[REFUSED]), PrefillEvents(has_capacity=True), PrefillEvents([4])],
            {"refused": [REFUSED], "has_capacity": True, "accepted_handles": [4]},
        ),
        (
            [
                PrefillEvents(first_tokens=[FirstToken(1, SampledToken(2))]),
                PrefillEvents(first_tokens=[FirstToken(2, SampledToken(3))]),
            ],
            {"first_tokens": [FirstToken(1, SampledToken(2)), FirstToken(2, SampledToken(3))]},
        ),
        (
            [StepOutputs(7, [1], [10], [0]), StepOutputs(8, [2, 1], [20, 11], [0, 1], [Finished(1)])],
            {
                "step": 8,
                "handles": [1, 2, 1],
                "token_ids": [10, 20, 11],
                "positions": [0, 0, 1],
                "finished": [Finished(1)],
            },
        ),
        (
            [
                RouteEvents(membership=MembershipView("g", [])),
                RouteEvents(),
                RouteEvents(membership=MembershipView("h", [])),
            ],
            {"membership": MembershipView("h", [])},
        ),
    ],
)
def test_merges(messages: list[Any], merged: dict[str, Any]) -> None:
    assert said(merge(messages)) == merged


def test_one_message_stays_as_it_is() -> None:
    message = StepOutputs(1, [1], [2], [3])
    assert merge([message]) is message
