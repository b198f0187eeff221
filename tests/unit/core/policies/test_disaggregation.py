import pytest

from penstock.core.policies.disaggregation import DisaggregationPolicy, is_worth_transfer
from penstock.core.types import Candidate, Role, RouteQuery, RoutingDecision, WorkerRef

A, B = WorkerRef("a", 1, "a:1"), WorkerRef("b", 1, "b:1")


@pytest.mark.parametrize(
    ("role", "decode", "is_worth"),
    [
        pytest.param(Role.PREFILL, (Candidate(B, 0.02),), True, id="a prefill worker always hands over"),
        pytest.param(Role.PREFILL, (), False, id="nobody to hand over to"),
        pytest.param(Role.MIXED, (Candidate(A, 0.02), Candidate(B, 0.02)), False, id="best at both"),
        pytest.param(Role.MIXED, (Candidate(B, 0.0199), Candidate(A, 0.02)), False, id="gain below the transfer"),
        pytest.param(Role.MIXED, (Candidate(B, 0.01), Candidate(A, 0.02)), True, id="gain above the transfer"),
        pytest.param(
            Role.MIXED,
            (Candidate(B, 0.0199, num_cached_tokens=1000), Candidate(A, 0.02)),
            True,
            id="cached tokens need no transfer",
        ),
        pytest.param(Role.MIXED, (Candidate(B, 0.02),), True, id="not even among the best decoders"),
    ],
)
def test_a_mixed_worker_hands_over_only_when_the_answer_gains_more_than_the_transfer_costs(
    role: Role, decode: tuple[Candidate, ...], is_worth: bool
) -> None:
    decision = RoutingDecision(prefill=(Candidate(A, 0.1),), decode=decode)
    query = RouteQuery("r", num_tokens=1000, max_tokens=100)  # transfer: 12 ms
    policy = DisaggregationPolicy(transfer_base_s=0.002, transfer_s_per_token=1e-5)
    assert is_worth_transfer(query, decision, role, policy) is is_worth
