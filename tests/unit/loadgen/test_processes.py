"""How processes share a load."""

import pytest

from penstock_loadgen import processes
from penstock_loadgen.endpoint import Calibration, EndpointSpec
from penstock_loadgen.live_run import LiveResult, Patience
from penstock_loadgen.meter import Reading
from penstock_loadgen.processes import LivePlan, Loaders, share_of
from penstock_loadgen.workload import WorkloadSpec, sessions
from tests.unit.loadgen.records import record


def test_every_session_is_played_by_exactly_one_process() -> None:
    spec = WorkloadSpec(num_requests=50)
    shares = [list(share_of(sessions(spec), number, 3)) for number in range(3)]
    together = sorted((session for share in shares for session in share), key=lambda session: session.number)
    assert together == list(sessions(spec))


class _Pipe:
    """A child that says what it is told to, and is not there to be stopped."""

    def __init__(self, *news: object) -> None:
        self._news = iter(news)

    def recv(self) -> object:
        return next(self._news)

    def send(self, order: object) -> None:
        if order == "stop":
            raise BrokenPipeError


def test_ctrl_c_just_as_a_process_ends_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = LivePlan(EndpointSpec("http://localhost"), WorkloadSpec(), Calibration(), Patience(), num_processes=0)
    loaders = Loaders(plan)
    results = [LiveResult([record(0.0)]), LiveResult([record(1.0)])]
    pipes = _Pipe("ready", results[0]), _Pipe("ready", Reading(), results[1])
    monkeypatch.setattr(loaders, "_children", [processes._Child(None, pipe) for pipe in pipes])  # type: ignore[arg-type]
    monkeypatch.setattr(processes, "wait", lambda pipes, timeout_s: pipes)
    keys = iter([KeyboardInterrupt])

    def on_reading(now_s: float, reading: Reading) -> None:
        for pressed in keys:
            raise pressed

    assert loaders.run(lambda start_s: None, on_reading).records == [one.records[0] for one in results]
    assert loaders.is_interrupted
