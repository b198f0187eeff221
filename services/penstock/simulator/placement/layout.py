"""A placement: pools of workers, how each worker is spread over GPUs, and how much a step may hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.transfers import TransferCosts


@dataclass(frozen=True, slots=True)
class Parallelism:
    """GPUs of one worker: `tensor` share each layer, `pipeline` take turns at layers."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def num_gpus(self) -> int:
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        return f"TP{self.tensor}" + (f"xPP{self.pipeline}" if self.pipeline > 1 else "")


@dataclass(frozen=True, slots=True)
class PoolChoice:
    """The workers of one role. `num_kv_tokens` is what each holds beside the weights."""

    role: Role
    count: int
    parallelism: Parallelism
    cost: CostSpec
    max_step_tokens: int
    max_sequences: int
    num_kv_tokens: int

    @property
    def num_gpus(self) -> int:
        return self.count * self.parallelism.num_gpus

    def __str__(self) -> str:
        return f"{self.count} {self.role.value} {self.parallelism}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Pools that serve together."""

    pools: tuple[PoolChoice, ...]

    @property
    def num_gpus(self) -> int:
        return sum(pool.num_gpus for pool in self.pools)

    @property
    def is_disaggregated(self) -> bool:
        return any(pool.role is Role.PREFILL for pool in self.pools)

    @property
    def num_copies(self) -> int:
        """How often the smallest layout of this shape is in it: 6 + 10 workers are two of 3 + 5."""
        return gcd(*(pool.count for pool in self.pools))

    def unit(self) -> "Layout":
        """The smallest layout of this shape."""
        return self.with_counts([pool.count // self.num_copies for pool in self.pools])

    def with_counts(self, counts: Sequence[int]) -> "Layout":
        """The same pools with other numbers of workers."""
        return Layout(tuple(replace(pool, count=count) for pool, count in zip(self.pools, counts, strict=True)))

    def __str__(self) -> str:
        return " + ".join(map(str, self.pools))


def scenario_of(layout: Layout, slo: Slo, transfer: TransferCosts, step_overhead_s: float) -> Scenario:
    """The layout as a cluster to be simulated."""
    pools = tuple(
        PoolSpec(
            role=pool.role,
            count=pool.count,
            cost=pool.cost,
            step_overhead_s=step_overhead_s,
            max_step_tokens=pool.max_step_tokens,
            max_sequences=pool.max_sequences,
            # two steps' worth: what is accepted beyond that would only wait where it cannot be sent elsewhere
            max_pending_tokens=2 * pool.max_step_tokens,
            num_kv_tokens=pool.num_kv_tokens,
        )
        for pool in layout.pools
    )
    return Scenario(name=str(layout), pools=pools, slo=slo, transfer=transfer)
