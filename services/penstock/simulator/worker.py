"""One life of one simulated worker: engine, prefill side, decode side, one program whatever its role."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from penstock.core.blocks import BlockPool
from penstock.core.errors import WorkerLost
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.sequences import SequenceBook
from penstock.core.step_planning import StepPlanner
from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.simulator.attempt import Attempt
from penstock.simulator.cost_model import CostModel
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.engine import SimulatedEngine
from penstock.simulator.expected_costs import expected_costs
from penstock.simulator.hardware import ModelShape
from penstock.simulator.prefills import PrefillSide
from penstock.simulator.step_times import StepRules, StepTimes
from penstock.simulator.surroundings import Surroundings
from penstock.simulator.transfers import Port


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker of a pool is like."""

    role: Role
    cost: CostModel
    shape: ModelShape
    num_blocks: int
    block_size: int
    num_gpus: int = 1
    rules: StepRules = field(default_factory=StepRules)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)


class SimulatedWorker:
    """Serves until it dies; what comes back under its name is another one."""

    def __init__(self, ref: WorkerRef, plan: WorkerPlan, around: Surroundings, on_room: Callable[[], None]) -> None:
        self.ref = ref
        self.plan = plan
        self.role = plan.role  # a flip changes it
        self.is_alive = True
        self._around = around
        pool = BlockPool(plan.num_blocks, plan.block_size)
        self.book = SequenceBook(pool, plan.admission, around.events.time_s)
        times = StepTimes(self.book, plan.cost, plan.rules, plan.shape)
        expected = expected_costs(plan.cost, plan.rules.overhead_s)
        planner = StepPlanner(self.book, plan.rules.schedule, times.finish_reason, lambda: expected)
        self.engine = SimulatedEngine(
            planner, times, around.network.layer_groups(), around.events, plan.rules.priorities
        )
        self.decodes = DecodeSide(ref, self.engine, Port(), around.events, around.rpc_s)
        self.prefills = PrefillSide(self.engine, self.decodes, around, on_room)

    def cancel(self, handle: int) -> None:
        """Stop one request, whatever it does here."""
        if self.is_alive:
            self.prefills.cancel(handle)
            self.decodes.cancel(handle)

    def die(self) -> None:
        """Everything here is gone; gateways and peers hear of it one message later."""
        self.engine.stop()
        self.is_alive = False
        error = WorkerLost(f"Worker {self.ref.worker_id} died.")
        rpc_s, events = self._around.rpc_s, self._around.events
        for attempt in self.prefills.die():
            events.after(rpc_s, partial(attempt.lost_prefill, error))
        for attempt in self.decodes.die():
            events.after(rpc_s, partial(self._lose, attempt, error))

    def describe(self) -> WorkerState:
        """The load a heartbeat tells of, as `worker.process` describes it."""
        self.engine.settle()
        book, costs, plan = self.book, self.engine.costs, self.plan
        return WorkerState(
            ref=self.ref,
            role=self.role,
            block_size=plan.block_size,
            num_blocks=plan.num_blocks,
            num_free_blocks=book.pool.num_free,
            num_waiting=book.num_waiting,
            num_running=len(book.running),
            num_decoding=book.num_decoding,
            max_num_sequences=plan.admission.max_sequences,
            num_prefill_tokens=book.num_pending_tokens,
            num_context_tokens=book.num_context_tokens,
            prefill_base_s=costs.prefill_base_s,
            prefill_s_per_token=costs.prefill_s_per_token,
            token_interval_s=costs.token_interval_s,
            heartbeat_s=self._around.events.now_s,
        )

    def _lose(self, attempt: Attempt, error: WorkerLost) -> None:
        attempt.blamed = (self.ref,)
        attempt.end(error)
