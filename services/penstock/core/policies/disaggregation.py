"""Whether a request should be decoded elsewhere than it was prefilled: is a remote decode worth its transfer?

Takes part in "route", after `policies.routing` has ranked both pools. A worker whose role is prefill always hands
over, for decoding beside its prefills would make every one of them late: that is what the pools are apart for. Only a
mixed worker has the choice, and keeps the request unless the other's shorter token interval pays for the transfer
over the whole answer.
"""

from dataclasses import dataclass

from penstock.core.types import Role, RouteQuery, RoutingDecision


@dataclass(frozen=True, slots=True)
class DisaggregationPolicy:
    """What a transfer costs: defaults are 128 KiB of KV per token (Llama 3 8B, bf16) at 12.5 GB/s."""

    transfer_base_s: float = 0.002
    transfer_s_per_token: float = 1e-5


def is_worth_transfer(
    query: RouteQuery, decision: RoutingDecision, prefill_role: Role, policy: DisaggregationPolicy
) -> bool:
    """Whether the best prefill candidate, whose role is `prefill_role`, should hand over to the best decode one."""
    if not decision.prefill or not decision.decode:
        return False
    here, there = decision.prefill[0].ref, decision.decode[0]
    if there.ref == here:
        return False
    if prefill_role is not Role.MIXED:
        return True
    interval_s = next((candidate.predicted_s for candidate in decision.decode if candidate.ref == here), None)
    if interval_s is None:  # not even among the best: it has no room, or others are far less busy
        return True
    transfer_s = policy.transfer_base_s + policy.transfer_s_per_token * (query.num_tokens - there.num_cached_tokens)
    return (interval_s - there.predicted_s) * query.max_tokens > transfer_s
