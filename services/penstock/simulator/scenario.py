"""A simulated cluster, described: the part of a scenario file that is about workers and control, not about traffic."""

from dataclasses import dataclass, field, replace

from penstock.core.errors import InvalidSettings
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.batching import BatchLimits
from penstock.core.policies.prefill_order import ORDERS
from penstock.core.policies.prefill_preemption import PreemptionGuards
from penstock.core.policies.swap import SwapCost
from penstock.core.residency import SwapRules
from penstock.core.role_controller import RoleRules
from penstock.core.route_book import RouteRules
from penstock.core.schedule import Batching, ModelDepth, Schedule
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cost_model import CostSpec, build_cost_model
from penstock.simulator.encodes import Encoder
from penstock.simulator.fitted_costs import find_fitted
from penstock.simulator.gateway import GatewayLimits
from penstock.simulator.hardware import ModelShape
from penstock.simulator.priorities import PriorityPattern
from penstock.simulator.step_times import StepRules
from penstock.simulator.surroundings import HandoffLimits
from penstock.simulator.tiers import HostCache
from penstock.simulator.transfers import TransferCosts
from penstock.simulator.worker import WorkerPlan


@dataclass(frozen=True, slots=True)
class SwapSpec:
    """How a pool's workers move KV to their hosts and back. `copy_s` is what launching one copy takes."""

    copy_s: float = 10e-6
    bytes_per_s: float = 25e9  # PCIe 4.0 x16, as large copies reach it
    is_grouped: bool = True
    is_incremental: bool = True
    is_asynchronous: bool = True
    may_recompute: bool = True

    def rules(self, shape: ModelShape, block_size: int) -> SwapRules:
        """K and V of each layer are tensors of their own, as in vLLM: a piece is two copies a layer."""
        return SwapRules(
            SwapCost(self.copy_s, self.bytes_per_s, copies_per_group=2 * shape.num_layers),
            shape.kv_layout(1, block_size).token_bytes,
            self.is_grouped,
            self.is_incremental,
            self.is_asynchronous,
            self.may_recompute,
        )


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """The workers of one role. `num_kv_tokens` 0: what fits in the GPUs' memory beside the weights."""

    role: Role = Role.MIXED
    count: int = 1
    cost: CostSpec = field(default_factory=CostSpec)
    step_overhead_s: float = 0.002  # a Python engine's own time around each forward pass
    batching: Batching = Batching.STALL_FREE
    order: str = "urgency"  # of prompts; see policies.prefill_order
    preempts_prefills: bool = True  # at layer boundaries, where prompts are handed over
    tpot_slo_s: float = float("inf")  # what a step with decodes may take; inf: its tokens alone bound it
    max_step_tokens: int = 2048
    max_sequences: int = 256
    max_pending_tokens: int = 4096
    swap: SwapSpec | None = None  # None: who must make room is computed again
    priorities: PriorityPattern = field(default_factory=PriorityPattern)
    block_size: int = 16
    num_kv_tokens: int = 0
    max_run_steps: int = 128
    host_cache: HostCache = field(default_factory=HostCache)
    encoder: Encoder = field(default_factory=Encoder)  # of encoder workers, and of prefill workers where there are none

    def plan(self) -> WorkerPlan:
        """What each of its workers is like."""
        if self.order not in ORDERS:
            raise InvalidSettings("pools.order", self.order, f"must be one of {', '.join(ORDERS)}")
        num_kv_tokens = self.num_kv_tokens or self.cost.shape.num_kv_tokens(self.cost.hardware, self.cost.num_gpus)
        num_blocks = num_kv_tokens // self.block_size
        if num_blocks < 1:
            raise InvalidSettings("pools.num_kv_tokens", num_kv_tokens, "leaves no room for a single block")
        rules = StepRules(
            self._schedule,
            self.priorities,
            overhead_s=self.step_overhead_s,
            # a mixed worker takes prompts between any two of its steps, and its prefix cache must be up to date then
            max_run_steps=1 if self.role is Role.MIXED else self.max_run_steps,
        )
        return WorkerPlan(
            role=self.role,
            cost=build_cost_model(self.cost),
            shape=self.cost.shape,
            num_blocks=num_blocks,
            block_size=self.block_size,
            num_gpus=self.cost.num_gpus,
            rules=rules,
            admission=AdmissionLimits(self.max_sequences, self.max_pending_tokens, rules.schedule.is_by_deadline),
            host_cache=self.host_cache,
            encoder=self.encoder,
            embedding_bytes=2 * self.cost.shape.hidden_size,
        )

    @property
    def _schedule(self) -> Schedule:
        shape = self.cost.shape
        return Schedule(
            limits=BatchLimits(self.max_step_tokens, self.max_sequences),
            batching=self.batching,
            order=self.order,
            tpot_slo_s=self.tpot_slo_s,
            guards=PreemptionGuards() if self.preempts_prefills else None,
            depth=ModelDepth(shape.num_layers, shape.num_experts),
            swap=self.swap.rules(shape, self.block_size) if self.swap else None,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A worker, named POOL-NUMBER (`decode-0`), dies and perhaps comes back, empty."""

    worker: str
    at_s: float
    back_after_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything a cluster is made of. The KV layout that is transferred is the first pool's model's."""

    name: str = "scenario"
    pools: tuple[PoolSpec, ...] = (PoolSpec(),)
    slo: Slo = field(default_factory=Slo)
    transfer: TransferCosts = field(default_factory=TransferCosts)
    router: RouteRules = field(default_factory=RouteRules)
    roles: RoleRules = field(default_factory=RoleRules)
    is_profiled: bool = False  # routing and role control know the first pool's fitted coefficients, else heartbeats'
    gateway: GatewayLimits = field(default_factory=GatewayLimits)
    handoff: HandoffLimits = field(default_factory=HandoffLimits)
    failures: tuple[Failure, ...] = ()
    heartbeat_interval_s: float = 0.5
    rpc_s: float = 0.0005  # one way, between any two processes
    sample_interval_s: float = 1.0  # of the pools' histories, at first

    @property
    def known_cost(self) -> StepCost | None:
        """What control knows of step costs beforehand."""
        if not self.is_profiled:
            return None
        pool = self.pools[0]
        if pool.cost.kind != "fitted":
            raise InvalidSettings("is_profiled", True, "needs a first pool whose cost is fitted")
        fit = find_fitted(pool.cost.gpu, pool.cost.model, pool.cost.tp, pool.cost.engine).regimes[0]
        overhead_s = pool.step_overhead_s
        return replace(
            fit, prefill_base_s=fit.prefill_base_s + overhead_s, decode_base_s=fit.decode_base_s + overhead_s
        )

    @property
    def route_rules(self) -> RouteRules:
        """The router's, with the objectives and costs that are the whole scenario's."""
        orders = replace(self.router.orders, cost=self.router.orders.cost or self.known_cost)
        return replace(self.router, orders=replace(orders, slo=self.slo) if self._has_objectives else orders)

    @property
    def role_rules(self) -> RoleRules:
        """Role control's, with the scenario's objectives."""
        return replace(self.roles, slo=self.slo) if self._has_objectives else self.roles

    @property
    def _has_objectives(self) -> bool:
        return self.slo.ttft_s < float("inf") and self.slo.tpot_s < float("inf")

    @property
    def num_gpus(self) -> int:
        return sum(pool.count * pool.cost.num_gpus for pool in self.pools)
