"""Every message through the serialisers of its RPC: what one side says is what the other hears."""

from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import pytest

from penstock.core.errors import DeadlineExceeded, InternalError, PenstockError
from penstock.core.types import Request, SamplingParams
from penstock.wire import control_messages as c
from penstock.wire import encode_messages as e
from penstock.wire import messages as m
from tests.unit.wire.message_examples import CALLS, REPLIES, STATE
from tests.unit.wire.rpc_ends import ends


def plain(value: Any) -> Any:
    """Comparable: errors by code and sentence, every kind of list as a list."""
    if isinstance(value, PenstockError):
        return value.code, value.message
    if is_dataclass(value):
        return type(value), {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, str | bytes | int | float | frozenset | None):
        return value
    return [plain(item) for item in value]


@pytest.mark.parametrize(("rpc", "call"), CALLS)
def test_calls_arrive_as_they_were_sent(rpc: str, call: Any) -> None:
    channel, method = ends(rpc)
    assert plain(method.request_deserializer(channel.serialize(call))) == plain(call)


@pytest.mark.parametrize(("rpc", "reply"), REPLIES)
def test_replies_arrive_as_they_were_sent(rpc: str, reply: Any) -> None:
    channel, method = ends(rpc)
    assert plain(channel.deserialize(method.response_serializer(reply))) == plain(reply)


def test_the_examples_use_every_type_and_every_field() -> None:
    """A field that is forgotten on the way would show above; one that is forgotten here would not."""
    seen: dict[type, set[str]] = {}
    for _, message in CALLS + REPLIES:
        _note(message, seen)
    modules = (m, c, e)
    types = {value for module in modules for value in vars(module).values() if is_dataclass(value)}
    assert {kind for kind in types if kind.__module__ in [module.__name__ for module in modules]} <= seen.keys()
    left_out: dict[type, set[str]] = {
        m.MembershipView: {"router_address", "metrics_addresses"},  # the receiver's own
    }
    for kind, used in seen.items():
        assert {field.name for field in fields(kind)} - used == left_out.get(kind, set()), kind


def _note(value: Any, seen: dict[type, set[str]]) -> None:
    if is_dataclass(value):
        used = seen.setdefault(type(value), set())
        for field in fields(value):
            content = getattr(value, field.name)
            if field.default is MISSING or content != field.default:
                used.add(field.name)
            _note(content, seen)
    elif isinstance(value, tuple | list):
        for item in value:
            _note(item, seen)


@pytest.mark.parametrize("rpc", ["Prefill/Serve", "Decode/Link"])
@pytest.mark.parametrize(
    ("deadline_s", "arrives_s"), [(130.0, 5030.0), (90.0, 4990.0), (float("inf"), float("inf")), (100.0, 5000.0)]
)
def test_a_deadline_crosses_as_seconds_left(rpc: str, deadline_s: float, arrives_s: float) -> None:
    """The clocks of two hosts have nothing in common; one that has passed has passed at the other end too."""
    channel, method = ends(rpc, client_now_s=100.0, server_now_s=5000.0)
    request = Request("r", 0, "g", 0, (1,), SamplingParams(), first_token_deadline_s=deadline_s)
    if rpc == "Prefill/Serve":
        heard = method.request_deserializer(channel.serialize(m.PrefillCalls(starts=(m.PrefillStart(request, ()),))))
        arrived = heard.starts[0].request
    else:
        heard = method.request_deserializer(channel.serialize(m.LinkCalls(commits=(m.Commit(1, request),))))
        arrived = heard.commits[0].request
    assert arrived.first_token_deadline_s == arrives_s


def test_the_age_of_a_heartbeat_crosses_and_not_its_time() -> None:
    channel, method = ends("Router/Route", client_now_s=5000.0, server_now_s=100.0)
    view = m.MembershipView("g", (replace(STATE, heartbeat_s=97.5),))
    heard = channel.deserialize(method.response_serializer(m.RouteEvents(membership=view)))
    assert heard.membership.workers[0].heartbeat_s == 4997.5


@pytest.mark.parametrize("num_logprobs", [None, 0, 5])
def test_no_log_probabilities_and_none_beside_the_sampled_one_differ(num_logprobs: int | None) -> None:
    channel, method = ends("Prefill/Serve")
    request = Request("r", 0, "g", 0, (1,), SamplingParams(num_logprobs=num_logprobs))
    heard = method.request_deserializer(channel.serialize(m.PrefillCalls(starts=(m.PrefillStart(request, ()),))))
    assert heard.starts[0].request.sampling.num_logprobs == num_logprobs


def test_an_error_that_does_not_cross_as_itself_keeps_its_sentence() -> None:
    channel, method = ends("Decode/Stream")
    sent = m.StepOutputs(1, finished=(m.Finished(1, error=DeadlineExceeded("Too late.")),))
    [finished] = channel.deserialize(method.response_serializer(sent)).finished
    assert type(finished.error) is InternalError
    assert finished.error.message == "Too late."


def test_columns_of_a_step_may_be_joined_after_they_crossed() -> None:
    channel, method = ends("Decode/Stream")
    step = channel.deserialize(method.response_serializer(m.StepOutputs(1, (1, 2), (3, 4), (5, 6))))
    assert [*zip(step.handles, step.token_ids, step.positions, strict=True)] == [(1, 3, 5), (2, 4, 6)]
