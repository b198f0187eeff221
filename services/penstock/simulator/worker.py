"""One life of one simulated worker: engine, prefill, decode and encode side, and the loader of prefixes; one program
whatever its role.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from penstock.core.blocks import BlockPool
from penstock.core.errors import WorkerLost
from penstock.core.policies.admission import AdmissionLimits, refuse_prefill
from penstock.core.reported_cost import reported_cost
from penstock.core.sequences import SequenceBook
from penstock.core.step_cost import StepCost
from penstock.core.step_planning import StepPlanner
from penstock.core.types import Role, Sequence, WorkerRef, WorkerState
from penstock.simulator.attempt import Attempt
from penstock.simulator.cost_model import CostModel
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.encodes import Encoder, EncodeSide
from penstock.simulator.engine import SimulatedEngine
from penstock.simulator.expected_costs import expected_costs
from penstock.simulator.hardware import ModelShape
from penstock.simulator.prefills import PrefillSide
from penstock.simulator.prefix_loads import Peer, PrefixLoader
from penstock.simulator.step_times import StepRules, StepTimes
from penstock.simulator.surroundings import Surroundings
from penstock.simulator.tiers import HostCache
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
    host_cache: HostCache = field(default_factory=HostCache)
    encoder: Encoder = field(default_factory=Encoder)
    embedding_bytes: int = 8192  # of one token


class SimulatedWorker:
    """Serves until it dies; what comes back under its name is another one."""

    def __init__(self, ref: WorkerRef, plan: WorkerPlan, around: Surroundings, on_room: Callable[[], None]) -> None:
        self.ref = ref
        self.plan = plan
        self.role = plan.role  # a flip changes it
        self.is_alive = True
        self.is_draining = False
        self._to_encode: dict[int, int] = {}  # patches by handle, encoded here with the first chunk of their prompt
        self._around = around
        pool = BlockPool(plan.num_blocks, plan.block_size)
        self.book = SequenceBook(pool, plan.admission, around.events.time_s)
        times = StepTimes(self.book, plan.cost, plan.rules, plan.shape)
        times.encode_s = self._encode_s
        expected = expected_costs(plan.cost, plan.rules.overhead_s)
        planner = StepPlanner(self.book, plan.rules.schedule, times.finish_reason, lambda: expected)
        self.engine = SimulatedEngine(
            planner, times, around.network.layer_groups(), around.events, plan.rules.priorities
        )
        self.port = Port()
        self.loader = PrefixLoader(pool, plan.host_cache, self.port, around)
        self.encodes = EncodeSide(plan.encoder, around.events)
        self.decodes = DecodeSide(ref, self.engine, self.port, around.events, around.rpc_s)
        self.prefills = PrefillSide(self.engine, self.decodes, around, on_room)

    def offer(self, attempt: Attempt, source: Peer | None) -> None:
        """Accept or refuse; before that bring what is worth it of the prefix, from our host memory or from `source`."""
        self.engine.settle()
        is_refused = refuse_prefill(self.book.load, 1, 1, self.plan.admission) is not None
        if is_refused or not self.loader.load(attempt.request, source, self._cost, partial(self._start, attempt)):
            self._start(attempt)

    def take_embeddings(self, sources: Iterable[tuple[Port, int]]) -> float:
        """Have embeddings (tokens) sent from other ports; returns when the last of them is here."""
        now_s, network = self._around.events.now_s, self._around.network
        ends_s = [
            network.push_bytes(port, self.port, num_tokens * self.plan.embedding_bytes, now_s)
            for port, num_tokens in sources
        ]
        return max(ends_s, default=now_s)

    @property
    def num_waiting(self) -> int:
        """Sequences, or an encoder's jobs."""
        return self.book.num_waiting + self.encodes.num_waiting

    @property
    def num_running(self) -> int:
        return len(self.book.running) + self.encodes.num_jobs - self.encodes.num_waiting

    @property
    def is_idle(self) -> bool:
        """Nothing is under way here."""
        return not self.book.owners and not self.encodes.num_jobs

    def cancel(self, handle: int) -> None:
        """Stop one request, whatever it does here."""
        if self.is_alive:
            self._to_encode.pop(handle, None)
            self.prefills.cancel(handle)
            self.decodes.cancel(handle)

    def die(self) -> None:
        """Everything here is gone; gateways and peers hear of it one message later."""
        self.engine.stop()
        self.is_alive = False
        self.encodes.die()
        error = WorkerLost(f"Worker {self.ref.worker_id} died.")
        rpc_s, events = self._around.rpc_s, self._around.events
        for attempt in self.prefills.die():
            events.after(rpc_s, partial(attempt.lost_prefill, error))
        for attempt in self.decodes.die():
            events.after(rpc_s, partial(self._lose, attempt, error))

    def describe(self) -> WorkerState:
        """The load a heartbeat tells of, as `worker.process` describes it."""
        if self.role is Role.ENCODER:
            return self._describe_encoder()
        self.engine.settle()
        book, costs, plan = self.book, self.engine.costs, self.plan
        return WorkerState(
            ref=self.ref,
            role=self.role,
            block_size=plan.block_size,
            num_blocks=plan.num_blocks,
            num_free_blocks=book.pool.num_free,
            num_waiting=self.num_waiting,
            num_running=self.num_running,
            num_decoding=book.num_decoding,
            max_num_sequences=plan.admission.max_sequences,
            num_prefill_tokens=book.num_pending_tokens,
            num_context_tokens=book.num_context_tokens,
            prefill_base_s=costs.prefill_base_s,
            prefill_s_per_token=costs.prefill_s_per_token,
            token_interval_s=costs.token_interval_s,
            is_draining=self.is_draining,
            heartbeat_s=self._around.events.now_s,
        )

    def _describe_encoder(self) -> WorkerState:
        """An encoder's work is counted in patches where others count tokens."""
        cost = self.encodes.encoder.cost
        return WorkerState(
            ref=self.ref,
            role=self.role,
            block_size=self.plan.block_size,
            num_waiting=self.num_waiting,
            num_running=self.num_running,
            num_prefill_tokens=self.encodes.num_patches,
            prefill_base_s=cost.base_s,
            prefill_s_per_token=cost.s_per_patch,
            is_draining=self.is_draining,
            heartbeat_s=self._around.events.now_s,
        )

    def _encode_s(self, sequence: Sequence) -> float:
        num_patches = self._to_encode.pop(sequence.request.handle, 0) if self._to_encode else 0
        return self.encodes.encoder.cost.seconds(num_patches)

    def _cost(self) -> StepCost:
        """What its own steps have been seen to take."""
        return reported_cost([self.describe()])

    def _start(self, attempt: Attempt) -> None:
        """Embeddings or a prefix may have come after the worker has died."""
        if not self.is_alive:
            error = WorkerLost(f"Worker {self.ref.worker_id} died.")
            self._around.events.after(self._around.rpc_s, partial(attempt.refused, error))
        elif self.prefills.start(attempt) and attempt.num_patches:
            self._to_encode[attempt.handle] = attempt.num_patches

    def _lose(self, attempt: Attempt, error: WorkerLost) -> None:
        attempt.blamed = (self.ref,)
        attempt.end(error)
