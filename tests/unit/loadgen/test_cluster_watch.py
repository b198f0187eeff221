"""What is read from `/cluster`."""

from typing import Any

import pytest

from penstock_loadgen.cluster_watch import ClusterObserver


def worker(worker_id: str, role: str, incarnation: int = 1, **changes: Any) -> dict[str, Any]:
    values = {"num_waiting": 1, "num_running": 2, "num_blocks": 10, "num_free_blocks": 4, "heartbeat_age_s": 0.1}
    return {"worker_id": worker_id, "role": role, "incarnation": incarnation, **values, **changes}


def see(observer: ClusterObserver, now_s: float, *workers: dict[str, Any]) -> None:
    observer.see({"groups": [{"workers": list(workers)}]}, now_s)


def test_pools_are_summed_by_role() -> None:
    observer = ClusterObserver()
    see(observer, 1.0, worker("p", "prefill"), worker("d0", "decode"), worker("d1", "decode", num_free_blocks=10))
    (point,) = observer.history.pools["decode"]
    assert (point.num_workers, point.num_waiting, point.num_running) == (2, 2, 4)
    assert point.kv_usage == pytest.approx(0.3)
    assert observer.history.events == []


def test_flips_deaths_returns_and_restarts_are_noticed() -> None:
    observer = ClusterObserver()
    see(observer, 1.0, worker("a", "prefill"), worker("b", "decode"), worker("c", "decode"))
    see(observer, 2.0, worker("a", "decode"), worker("b", "decode", incarnation=2))
    see(observer, 3.0, worker("a", "decode"), worker("b", "decode", 2, heartbeat_age_s=9.0), worker("c", "decode"))
    assert [(event.time_s, event.what) for event in observer.history.events] == [
        (2.0, "c (decode) is gone"),
        (2.0, "a flipped: prefill to decode"),
        (2.0, "b (decode) was restarted"),
        (3.0, "b (decode) is gone"),
        (3.0, "c (decode) came"),
    ]
    assert [point.num_workers for point in observer.history.pools["prefill"]] == [1, 0, 0]
