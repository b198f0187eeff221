"""The same scenario gives the same result: again, in another process, and whether or not steps are taken together."""

import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from penstock.core.schedule import Batching
from penstock.simulator.report import report
from penstock.simulator.scenario import Failure, PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec
from tests.simulation.clusters import DECODE, MIXED, PREFILL, RecordingCluster, run, small, traffic

FAILURES = (Failure("decode-0", 3.0, 4.0), Failure("prefill-1", 5.0, 2.0))
CROWDED = (small(PREFILL, 12000), small(DECODE, 9000))


def shared_prefixes(num_requests: int) -> list[RequestSpec]:
    """Conversations in turn: each prompt begins with what the one five before it began with."""
    return [
        replace(spec, prefix_ids=tuple(range(100 * (number % 5), 100 * (number % 5) + 9)), tokens_per_prefix_id=512)
        for number, spec in enumerate(traffic(15.0, num_requests))
    ]


def times(cluster: RecordingCluster) -> list[tuple[int, list[float]]]:
    return [(spec.num_prompt_tokens, timeline.token_times_s) for spec, timeline, _ in cluster.ended]


def test_a_second_run_is_the_same_to_the_last_digit() -> None:
    first, second = (run(Scenario(pools=CROWDED, failures=FAILURES), shared_prefixes(300)) for _ in range(2))
    assert times(first) == times(second)
    assert asdict(report(first)) == asdict(report(second))


_IN_ANOTHER_PROCESS = """
from penstock.simulator.scenario import Scenario
from tests.simulation.clusters import run
from tests.simulation.test_determinism import CROWDED, FAILURES, shared_prefixes, times
print(hash(tuple(map(sum, (times for _, times in times(run(Scenario(pools=CROWDED, failures=FAILURES),
      shared_prefixes(300))))))))
"""


def test_hash_seeds_of_processes_do_not_matter() -> None:
    """Strings and bytes hash differently in every process: no decision may hang on the order of a set."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _IN_ANOTHER_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    "pools",
    [
        (PREFILL, DECODE),
        CROWDED,
        (small(MIXED, 9000),),
        (replace(small(MIXED, 9000), batching=Batching.PREFILL_FIRST),),
    ],
    ids=["plenty", "crowded", "mixed", "prefill first"],
)
def test_runs_of_decode_steps_are_the_same_as_their_steps(pools: tuple[PoolSpec, ...]) -> None:
    failures = FAILURES if len(pools) > 1 else (Failure("mixed-1", 4.0, 2.0),)
    together, apart = (
        run(
            Scenario(pools=tuple(replace(pool, max_run_steps=steps) for pool in pools), failures=failures),
            shared_prefixes(250),
        )
        for steps in (128, 1)
    )
    assert times(together) == times(apart)
    assert together.desk.rejections == apart.desk.rejections
    assert together.network.totals == apart.network.totals
    for name, worker in together.workers.items():
        mine, its = asdict(worker.engine.totals), asdict(apart.workers[name].engine.totals)
        if worker.is_alive:
            assert mine == pytest.approx(its)
