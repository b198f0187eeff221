"""A client that fell behind does not hide it."""

from penstock_loadgen.validity import judge
from tests.unit.loadgen.records import record


def test_a_client_on_time_is_valid() -> None:
    validity = judge([record(index, due_s=index - 0.001) for index in range(100)], [0.001] * 100)
    assert validity.is_valid
    assert 0.0009 < validity.lateness_p99_s < 0.0011


def test_late_sends_make_a_run_invalid() -> None:
    records = [record(index, due_s=index - (0.2 if index % 20 == 0 else 0.0)) for index in range(1, 200)]
    (reason,) = judge(records, []).reasons
    assert "200 ms late" in reason and "--processes" in reason


def test_lateness_in_the_warm_up_does_not_count() -> None:
    assert judge([record(1.0, due_s=0.0, is_warm_up=True), record(2.0)], []).is_valid


def test_a_slow_event_loop_makes_a_closed_loop_invalid_too() -> None:
    (reason,) = judge([record()], [0.001] * 95 + [0.3] * 5).reasons
    assert "event loop" in reason


def test_an_empty_run_and_an_interrupted_one_are_invalid() -> None:
    assert "no request" in judge([], []).reasons[0]
    assert judge([record()], [], is_interrupted=True).reasons == ("the run was interrupted",)


def test_running_out_of_file_descriptors_is_the_clients_fault() -> None:
    failed = record(kind="connect", error="cannot connect: [Errno 24] Too many open files")
    assert "ulimit" in judge([failed], []).reasons[0]
