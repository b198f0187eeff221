"""The same sessions played against a simulated cluster, in virtual time: one experiment, two targets."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.core.errors import PenstockError
from penstock.core.timeline import Timeline
from penstock.simulator.cluster import Cluster
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.exchange import CANCELLED, OK
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.sessions import Session
from penstock_loadgen.simulated_prompts import request_spec
from penstock_loadgen.workload import WorkloadSpec, refuse_class_images, sessions

OnRecord = Callable[[RequestRecord], None]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One that is under way."""

    session: Session
    index: int
    spec: RequestSpec


class SimulatedRun:
    """Feeds a cluster what its answers call for: next turns, and in a closed loop next sessions."""

    def __init__(self, cluster: Cluster, workload: WorkloadSpec, on_record: OnRecord) -> None:
        refuse_class_images(workload)
        self._cluster = cluster
        self._workload = workload
        self._on_record = on_record
        self._sessions: Iterator[Session] = sessions(workload)
        self._under_way: dict[int, _Turn] = {}  # by the identity of the spec, which the cluster hands back
        self._count, cluster.desk.on_over = cluster.desk.on_over, self._on_over

    def run(self) -> None:
        """Simulate until every request has ended."""
        if self._workload.arrivals.is_closed:
            for _ in range(self._workload.arrivals.concurrency):
                self._next_session()
            self._cluster.run(())
        else:
            self._cluster.run(self._turn(session, 0, session.due_s) for session in self._sessions)

    def _next_session(self) -> None:
        session = next(self._sessions, None)
        now_s = self._cluster.events.now_s
        if session is not None and now_s < self._workload.duration_s:
            self._cluster.submit(self._turn(session, 0, now_s))

    def _turn(self, session: Session, index: int, due_s: float) -> RequestSpec:
        spec = request_spec(session, index, due_s, self._workload.deadline_s_of(session.traffic_class))
        self._under_way[id(spec)] = _Turn(session, index, spec)
        return spec

    def _on_over(self, spec: RequestSpec, timeline: Timeline, error: PenstockError | None) -> None:
        turn = self._under_way.pop(id(spec))
        session, index = turn.session, turn.index
        self._on_record(self._record(turn, timeline, error))
        is_last = index + 1 == len(session.turns)
        if error is None and not is_last and not session.turns[index].is_given_up:
            think_s = session.turns[index + 1].think_s
            self._cluster.submit(self._turn(session, index + 1, self._cluster.events.now_s + think_s))
        elif self._workload.arrivals.is_closed:
            self._next_session()
        self._count(spec, timeline, error)

    def _record(self, turn: _Turn, timeline: Timeline, error: PenstockError | None) -> RequestRecord:
        session, spec = turn.session, turn.spec
        is_given_up = session.turns[turn.index].is_given_up
        return RequestRecord(
            session=session.number,
            turn=turn.index,
            class_name=session.traffic_class.name,
            due_s=spec.arrived_s,
            sent_s=spec.arrived_s,
            ended_s=self._cluster.events.now_s if timeline.finished_s is None else timeline.finished_s,
            kind=error.code if error else CANCELLED if is_given_up else OK,
            error=error.message if error else "",
            num_prompt_tokens=spec.num_prompt_tokens,
            num_output_tokens=len(timeline.token_times_s),
            has_usage=True,
            event_times_s=array("d", timeline.token_times_s),
            slo=self._workload.slo_of(session.traffic_class),
            is_warm_up=spec.arrived_s < self._workload.warm_up_s,
        )


def play(cluster: Cluster, workload: WorkloadSpec, on_record: OnRecord = lambda record: None) -> None:
    """Run the whole workload on a fresh cluster."""
    SimulatedRun(cluster, workload, on_record).run()
