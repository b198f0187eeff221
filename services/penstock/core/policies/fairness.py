"""Whose request is next when tenants share workers: virtual token counters in prefill token equivalents.

Virtual token counters (VTC, Sheng et al., OSDI'24, arXiv 2401.00588) bill each tenant for the service it gets and
serve the least billed one that waits. The unit is Beyond Accuracy's PTE (arXiv 2604.05404), which follows what a token
costs the device rather than what it is worth:

    bill    uncached prompt tokens + gamma * sum over generated tokens of their context          [PTE]
    gamma   = 2 * num_layers * hidden_size * HOI / num_parameters * num_kv_heads / num_heads      [1 / token]
    HOI     FLOP/s over bytes/s of the device, as the paper counts it: H100 756.5, H200 348.1, A100 322.5

A tenant that comes back from idling starts at the least billed active one: nobody saves up credit. When all were idle
it starts level with the most billed (the original: with whoever left last, one more thing to remember). While two
tenants both wait, their bills differ by at most one request's, weights aside.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from penstock.core.types import Sequence


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What gamma depends on."""

    num_layers: int
    hidden_size: int
    num_parameters: float
    num_heads: int
    num_kv_heads: int


def decode_weight(shape: ModelShape, operational_intensity: float) -> float:
    """gamma: prefill token equivalents of generating one token, per token of its context."""
    per_context_token = 2 * shape.num_layers * shape.hidden_size * operational_intensity / shape.num_parameters
    return per_context_token * shape.num_kv_heads / shape.num_heads


def prefill_pte(num_tokens: int, num_cached_tokens: int = 0) -> float:
    """The bill of a prompt: what had to be computed of it."""
    return float(num_tokens - num_cached_tokens)


def decode_pte(num_context_tokens: int, num_new_tokens: int, gamma: float) -> float:
    """The bill of `num_new_tokens` more tokens after `num_context_tokens`: each pays for the context it reads."""
    num_read = num_new_tokens * num_context_tokens + num_new_tokens * (num_new_tokens - 1) // 2
    return gamma * num_read


@dataclass(slots=True)
class TenantCounters:
    """What each tenant has been billed, in PTE per weight. Not a decision but the memory of one."""

    weights: Mapping[str, float] = field(default_factory=dict)  # a tenant of weight 2 may have twice the service
    billed: dict[str, float] = field(default_factory=dict)

    def arrive(self, tenant: str, active: Iterable[str]) -> None:
        """A request of `tenant` begins to wait; `active` are the tenants that had work before it, queued or running."""
        others = [name for name in active if name in self.billed]
        if tenant in others:
            return
        floor = min((self.billed[name] for name in others), default=max(self.billed.values(), default=0.0))
        self.billed[tenant] = max(self.billed.get(tenant, 0.0), floor)

    def charge(self, tenant: str, pte: float) -> None:
        """`tenant` was served this much."""
        self.billed[tenant] = self.billed.get(tenant, 0.0) + pte / self.weights.get(tenant, 1.0)

    def next_tenant(self, waiting: Iterable[str]) -> str | None:
        """Whose request to serve next: the least billed of those that wait; ties go by name."""
        return min(waiting, key=lambda tenant: (self.billed.get(tenant, 0.0), tenant), default=None)


def interleave(ordered: Iterable[Sequence], counters: TenantCounters) -> list[Sequence]:
    """The prompts of each tenant in the order given, and always the least billed tenant's next.

    Each prompt counts as billed once it is listed, so that one step takes from all who wait in turn.
    """
    queues: dict[str, deque[Sequence]] = defaultdict(deque)
    for sequence in ordered:
        queues[sequence.request.tenant].append(sequence)
    expected = TenantCounters(counters.weights, dict(counters.billed))
    fair: list[Sequence] = []
    while (tenant := expected.next_tenant(queues)) is not None:
        sequence = queues[tenant].popleft()
        if not queues[tenant]:
            del queues[tenant]
        expected.charge(tenant, prefill_pte(sequence.num_tokens_to_run))
        fair.append(sequence)
    return fair
