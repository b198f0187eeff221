"""How processes share a load."""

from penstock_loadgen.processes import share_of
from penstock_loadgen.workload import WorkloadSpec, sessions


def test_every_session_is_played_by_exactly_one_process() -> None:
    spec = WorkloadSpec(num_requests=50)
    shares = [list(share_of(sessions(spec), number, 3)) for number in range(3)]
    together = sorted((session for share in shares for session in share), key=lambda session: session.number)
    assert together == list(sessions(spec))
