"""Virtual token counters in prefill token equivalents."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.fairness import (
    ModelShape,
    TenantCounters,
    decode_pte,
    decode_weight,
    interleave,
    prefill_pte,
)
from penstock.core.types import Request, SamplingParams, Sequence

H100, H200 = 756.5, 348.1


@pytest.mark.parametrize(
    ("shape", "published"),
    [
        # gamma at H100 as the paper prints it; its parameter counts are not stated, hence the tolerance
        pytest.param(ModelShape(28, 3584, 7.62e9, 28, 4), 0.00329, id="Qwen2.5-7B"),
        pytest.param(ModelShape(64, 5120, 32.5e9, 40, 8), 0.00320, id="Qwen2.5-32B"),
        pytest.param(ModelShape(80, 8192, 72.7e9, 64, 8), 0.00175, id="Qwen2.5-72B"),
        pytest.param(ModelShape(32, 4096, 8.03e9, 32, 8), 0.00625, id="Llama-3.1-8B"),
        pytest.param(ModelShape(80, 8192, 70.6e9, 64, 8), 0.00175, id="Llama-3.1-70B"),
    ],
)
def test_gamma_is_the_papers(shape: ModelShape, published: float) -> None:
    assert decode_weight(shape, H100) == pytest.approx(published, rel=0.15)
    assert decode_weight(shape, H200) == pytest.approx(0.46 * published, rel=0.15)


def test_bills() -> None:
    assert prefill_pte(1000) == 1000
    assert prefill_pte(1000, 900) == 100
    assert decode_pte(1000, 0, 0.005) == 0
    assert decode_pte(1000, 1, 0.005) == pytest.approx(5.0)
    assert decode_pte(1000, 3, 0.005) == pytest.approx(0.005 * (1000 + 1001 + 1002))


def test_the_least_billed_is_next() -> None:
    counters = TenantCounters()
    counters.charge("a", 100.0)
    counters.charge("b", 50.0)
    assert counters.next_tenant(["a", "b"]) == "b"
    assert counters.next_tenant(["a"]) == "a"
    assert counters.next_tenant(["b", "a", "c"]) == "c"
    assert counters.next_tenant([]) is None


@pytest.mark.parametrize(
    ("billed", "active", "billed_after"),
    [
        ({"a": 100.0, "b": 80.0, "c": 5.0}, ["a", "b"], 80.0),  # idle meanwhile: no credit
        ({"a": 100.0, "b": 80.0, "c": 90.0}, ["a", "b"], 90.0),  # nor is a debt forgiven
        ({"a": 100.0, "b": 80.0, "c": 5.0}, ["a", "b", "c"], 5.0),  # was active all along
        ({"a": 100.0, "b": 80.0, "c": 5.0}, [], 100.0),  # all idle: level with the most billed
        ({}, [], 0.0),
        ({"a": 100.0}, ["a"], 100.0),  # new
    ],
)
def test_nobody_saves_up_credit(billed: dict[str, float], active: list[str], billed_after: float) -> None:
    counters = TenantCounters(billed=dict(billed))
    counters.arrive("c", active)
    assert counters.billed["c"] == billed_after


@given(st.lists(st.floats(1.0, 100.0), min_size=1, max_size=200), st.integers(2, 5), st.integers(1, 3))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_tenants_that_always_wait_differ_by_one_request(bills: list[float], num_tenants: int, weight: int) -> None:
    tenants = [str(index) for index in range(num_tenants)]
    counters = TenantCounters(weights={"0": float(weight)})
    for tenant in tenants:
        counters.arrive(tenant, [name for name in tenants if name < tenant])
    for bill in bills:
        counters.charge(counters.next_tenant(tenants) or "", bill)
    assert max(counters.billed.values()) - min(counters.billed.values()) <= max(bills) + 1e-6


def test_a_tenant_of_twice_the_weight_has_twice_the_service() -> None:
    counters = TenantCounters(weights={"a": 2.0})
    served = {"a": 0, "b": 0}
    for _ in range(300):
        tenant = counters.next_tenant(served) or ""
        counters.charge(tenant, 10.0)
        served[tenant] += 1
    assert served == {"a": 200, "b": 100}


def test_prompts_of_tenants_are_listed_in_turn_by_what_each_was_billed() -> None:
    def prompt(tenant: str, num_tokens: int) -> Sequence:
        request = Request(tenant, 0, "g", 0, range(num_tokens), SamplingParams(), tenant=tenant)
        return Sequence(request, list(range(num_tokens)), 0.0)

    long, short, other = prompt("a", 100), prompt("a", 10), prompt("b", 40)
    more = prompt("b", 70)
    counters = TenantCounters(billed={"a": 0.0, "b": 50.0})
    assert interleave([long, short, other, more], counters) == [long, other, more, short]
    assert counters.billed == {"a": 0.0, "b": 50.0}  # nobody has been served yet
