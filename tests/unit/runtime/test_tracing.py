"""Which spans there are, and whose children."""

import pytest

from penstock.runtime.tracing import OFF, Tracer, is_traceparent
from tests.unit.trace_context import TRACEPARENT as PARENT


def tracer(sampled_share: float = 1.0) -> Tracer:
    return Tracer(lambda span: None, sampled_share)


def test_a_child_continues_its_parents_trace() -> None:
    child = tracer().below(PARENT)
    assert child is not None
    assert (child.trace_id, child.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    grandchild = tracer().below(child.traceparent)
    assert grandchild is not None and grandchild.parent_id == child.span_id


def test_a_request_without_a_trace_begins_one() -> None:
    first, second = tracer().root(""), tracer().root("nonsense")
    assert first is not None and second is not None
    assert first.parent_id == second.parent_id == ""
    assert first.trace_id != second.trace_id
    assert is_traceparent(first.traceparent)


def test_the_parent_decides_whether_it_is_recorded() -> None:
    assert tracer(sampled_share=0.0).root(PARENT) is not None
    assert tracer().root(PARENT[:-2] + "00") is None


def test_the_share_decides_for_new_traces() -> None:
    assert tracer(sampled_share=0.0).root("") is None
    some = tracer(sampled_share=0.5)
    assert 0.4 < sum(some.root("") is not None for _ in range(10_000)) / 10_000 < 0.6


def test_nothing_is_named_when_off() -> None:
    assert OFF.root(PARENT) is OFF.below(PARENT) is None
    assert OFF.root("") is None


ZEROS = (f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01")


@pytest.mark.parametrize("text", ["", "00-xyz-1-01", PARENT[:-3], *ZEROS])
def test_what_is_no_trace_context(text: str) -> None:
    assert not is_traceparent(text)
    context = tracer().root(text)
    assert context is not None and context.parent_id == ""
