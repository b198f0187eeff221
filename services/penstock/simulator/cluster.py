"""A whole simulated system: gateway, router, workers, network, and the events that move them.

    workload --arrive--> driver --> router --> prefill worker ==KV==> decode worker --tokens--> timeline --> metrics

It decides nothing: routes, admission, batches, prefixes and disaggregation are `core.policies`, and block book-keeping
is `core.sequences` on `core.blocks`, the code the live processes run.
"""

from collections.abc import Callable, Iterator
from functools import partial

from penstock.core.errors import InvalidSettings, PenstockError
from penstock.core.timeline import Timeline
from penstock.core.types import WorkerRef
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.driver import SimulatedDriver
from penstock.simulator.events import EventQueue
from penstock.simulator.gateway import Desk
from penstock.simulator.metrics import PoolHistory, PoolSample, RequestMetrics
from penstock.simulator.role_control import RoleControl
from penstock.simulator.router import SimulatedRouter
from penstock.simulator.scenario import Failure, Scenario
from penstock.simulator.surroundings import Surroundings
from penstock.simulator.transfers import Network
from penstock.simulator.waiting import WaitingQueue
from penstock.simulator.worker import SimulatedWorker, WorkerPlan
from penstock.simulator.workload import RequestSpec, Workload

OnProgress = Callable[[int], None]
_NO_PROGRESS: OnProgress = lambda num_ended: None  # noqa: E731


class Cluster:
    """Runs one workload, once."""

    def __init__(self, scenario: Scenario, on_progress: OnProgress = _NO_PROGRESS) -> None:
        self.scenario = scenario
        self.events = EventQueue()
        self.metrics = RequestMetrics(scenario.slo)
        self.history = PoolHistory(scenario.sample_interval_s)
        self.router = SimulatedRouter(scenario.route_rules)
        layout = scenario.pools[0].cost.shape.kv_layout(1, scenario.pools[0].block_size)
        self.network = Network(layout, scenario.transfer)
        queue = WaitingQueue(self.events, scenario.gateway.max_num_waiting, scenario.gateway.tick_s)
        self.desk = Desk(
            self.events, self.router, self.find_worker, scenario.gateway, scenario.rpc_s, self._on_over, queue
        )
        self.workers: dict[str, SimulatedWorker] = {}  # the present or last life of each
        self.past_lives: list[SimulatedWorker] = []
        self.on_progress = on_progress
        self.roles = RoleControl(scenario.role_rules, self.router, self.workers, scenario.known_cost, self._on_flip)
        self._around = Surroundings(self.events, self.network, self._find_decode, scenario.rpc_s, scenario.handoff)
        self._num_open = 0
        self._num_submitted = 0  # and not arrived yet
        self._has_arrivals = True
        self._start_workers()

    def run(self, workload: Workload) -> None:
        """Simulate until every request has ended."""
        self._next_arrival(iter(workload))
        self._beat()
        self._sample()
        if self.roles.rules.policy != "none":
            self._control_roles()
        self.events.run()

    def submit(self, spec: RequestSpec) -> None:
        """One more request, that arrives when it says: for callers whose next request depends on an answer."""
        self._num_submitted += 1
        self.events.at(spec.arrived_s, partial(self._arrive_submitted, spec))

    def find_worker(self, ref: WorkerRef) -> SimulatedWorker | None:
        """The worker, if it is alive in that life."""
        worker = self.workers[ref.worker_id]
        return worker if worker.is_alive and worker.ref == ref else None

    # --- requests -----------------------------------------------------------------------------------------------------

    def _next_arrival(self, workload: Iterator[RequestSpec]) -> None:
        spec = next(workload, None)
        if spec is None:
            self._has_arrivals = False
        else:
            self.events.at(spec.arrived_s, partial(self._arrive, spec, workload))

    def _arrive(self, spec: RequestSpec, workload: Iterator[RequestSpec]) -> None:
        self._begin(spec)
        self._next_arrival(workload)

    def _arrive_submitted(self, spec: RequestSpec) -> None:
        self._num_submitted -= 1
        self._begin(spec)

    def _begin(self, spec: RequestSpec) -> None:
        self.metrics.arrived(self.events.now_s)
        self.roles.meter.arrived(spec.num_prompt_tokens)
        self._num_open += 1
        SimulatedDriver(spec, self.desk).begin()

    def _on_over(self, spec: RequestSpec, timeline: Timeline, error: PenstockError | None) -> None:
        self._num_open -= 1
        if error is None and timeline.ttft_s is not None and timeline.e2e_s is not None:
            self.roles.meter.finished(len(timeline.token_times_s), timeline.ttft_s, timeline.e2e_s)
        self.metrics.ended(spec, timeline, error, self.events.now_s)
        self.on_progress(1)

    @property
    def _is_busy(self) -> bool:
        return self._has_arrivals or self._num_submitted > 0 or self._num_open > 0

    # --- workers ------------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        for pool in self.scenario.pools:
            plan = pool.plan()
            first = sum(worker.plan.role is pool.role for worker in self.workers.values())
            for index in range(first, first + pool.count):
                self._start_worker(WorkerRef(f"{pool.role.value}-{index}", 1, ""), plan)
        for failure in self.scenario.failures:
            if failure.worker not in self.workers:
                raise InvalidSettings("failures.worker", failure.worker, f"must be one of {', '.join(self.workers)}")
            self.events.at(failure.at_s, partial(self._fail, failure))

    def _start_worker(self, ref: WorkerRef, plan: WorkerPlan) -> None:
        worker = self.workers[ref.worker_id] = SimulatedWorker(ref, plan, self._around, self.desk.queue.wake)
        self.router.admit(worker.describe())

    def _fail(self, failure: Failure) -> None:
        worker = self.workers[failure.worker]
        if not worker.is_alive:
            return
        worker.die()
        self.past_lives.append(worker)
        if failure.back_after_s < float("inf"):
            ref = WorkerRef(worker.ref.worker_id, worker.ref.incarnation + 1, "")
            self.events.after(failure.back_after_s, partial(self._come_back, ref, worker.plan))

    def _come_back(self, ref: WorkerRef, plan: WorkerPlan) -> None:
        self._start_worker(ref, plan)
        self.desk.queue.wake()

    def _find_decode(self, ref: WorkerRef) -> DecodeSide | None:
        worker = self.find_worker(ref)
        return worker.decodes if worker else None

    # --- what happens at intervals, while there is anything to do -----------------------------------------------------

    def _beat(self) -> None:
        if not self._is_busy:
            return
        for worker in self.workers.values():
            if worker.is_alive:
                self._report(worker)
        if self.router.tick(self.events.now_s):
            self.desk.queue.wake()
        self.events.after(self.scenario.heartbeat_interval_s, self._beat)

    def _report(self, worker: SimulatedWorker) -> None:
        """One heartbeat."""
        self.router.heartbeat(worker.describe(), *worker.loader.take_changes())

    def _control_roles(self) -> None:
        if self._is_busy:
            self.roles.tick(len(self.desk.queue), self.events.now_s)
            self.events.after(self.roles.rules.interval_s, self._control_roles)

    def _on_flip(self, worker: SimulatedWorker) -> None:
        self._report(worker)
        self.desk.queue.wake(2)

    def _sample(self) -> None:
        if self._is_busy:
            self.history.add(self._take_samples)
            self.events.after(self.history.interval_s, self._sample)

    def _take_samples(self) -> dict[str, PoolSample]:
        samples: dict[str, PoolSample] = {}
        for role in dict.fromkeys(worker.role for worker in self.workers.values()):
            alive = [worker for worker in self.workers.values() if worker.is_alive and worker.role is role]
            num_blocks = sum(worker.plan.num_blocks for worker in alive)
            samples[role.value] = PoolSample(
                self.events.now_s,
                len(alive),
                sum(worker.num_waiting for worker in alive),
                sum(worker.num_running for worker in alive),
                sum(worker.book.pool.num_referenced for worker in alive) / max(1, num_blocks),
            )
        num_open = len(self.desk.queue)
        samples["gateway"] = PoolSample(self.events.now_s, 1, num_open, self._num_open - num_open, 0.0)
        return samples
