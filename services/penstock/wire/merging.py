"""Several stream messages made one: what gathered while the last was being written goes out together."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from penstock.wire.encode_messages import EncodeCalls, EncodeEvents
from penstock.wire.messages import (
    DecodeCalls,
    LinkCalls,
    LinkEvents,
    PrefillCalls,
    PrefillEvents,
    RouteCalls,
    RouteEvents,
    StepOutputs,
)

Merged = TypeVar(
    "Merged",
    PrefillCalls,
    PrefillEvents,
    EncodeCalls,
    EncodeEvents,
    DecodeCalls,
    StepOutputs,
    LinkCalls,
    LinkEvents,
    RouteCalls,
    RouteEvents,
)


def merge(messages: Sequence[Merged]) -> Merged:
    """One message that says what `messages` (at least one) say in order.

    Columns and lists are joined, claims hold if any message makes them, of anything else the last word counts.
    """
    if len(messages) == 1:
        return messages[0]
    kind: Any = type(messages[0])
    merged: Merged = kind(
        **{name: _join([getattr(message, name) for message in messages]) for name in _field_names(kind)}
    )
    return merged


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _join(values: list[Any]) -> Any:
    last = next((value for value in reversed(values) if value is not None), None)
    if isinstance(last, bool):
        return any(values)
    if isinstance(last, Sequence):
        return list(chain.from_iterable(values))
    return last
