"""`make calibrate`: the simulator beside the live system, on the very same requests.

python -m benchmarks.calibrate [--engines mock torch] [--rounds N] [--requests N] [--rate R]

For each engine the whole system is started here (gateway, router on Ray, one prefill and one decode worker) and, in
turns, profiled (`penstock profile`) and loaded with requests that arrive at random. The simulator then gets the profile
and the arrivals and lengths of what was sent. Nothing is fitted to the load itself.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import uvloop

from benchmarks.machine import describe as describe_machine
from benchmarks.serving import system
from penstock.cli.builtin_model import builtin_model
from penstock.cli.plan_inputs import model_shape
from penstock.cli.profile import describe, make_profile
from penstock.cli.profiling import Measured, ProfilePoints, Profiler, together
from penstock.core.timeline import Summary, summarize
from penstock.core.types import Role
from penstock.runtime import clock
from penstock.simulator.cluster import Cluster
from penstock.simulator.cost_profile import CostProfile
from penstock.simulator.profiled import profiled
from penstock.simulator.report import report
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.arrivals import ArrivalSpec, arrival_times
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.exchange import Exchange
from penstock_loadgen.http_client import StreamingClient
from penstock_loadgen.lengths import LengthSpec, lengths

POINTS = ProfilePoints(num_repeats=5)
LENGTHS = LengthSpec("lognormal", 200, 40, 0.8, 0.5, max_total_tokens=1000)
MAX_BATCH_TOKENS = 2048  # of the live workers, by default
MODEL = "penstock-tiny"
_IDS = (10, 250)  # token ids of plain text
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Comparison:
    """One engine: both worlds' TTFT and TPOT."""

    engine: str
    profile: CostProfile
    num_sent: int
    num_failed: int
    live: dict[str, Summary | None]
    simulated: dict[str, Summary | None]


@dataclass(frozen=True)
class Answer:
    """One request as it was sent, and when its tokens came."""

    spec: RequestSpec
    exchange: Exchange
    sent_s: float

    @property
    def is_whole(self) -> bool:
        return self.exchange.is_success and len(self.exchange.event_times_s) >= min(2, self.spec.num_output_tokens)


async def compare(engine: str, num_rounds: int, num_requests: int, rate: float) -> Comparison:
    """Profile and load in turns, so that both see the same of what else the machine does; then simulate."""
    passes: list[Measured] = []
    answers: list[Answer] = []
    began_s = clock.now_s()
    async with system("--engine", engine) as port:
        for number in range(num_rounds):
            profiler = Profiler(EndpointSpec(f"http://127.0.0.1:{port}", model=MODEL), clock.now_s, seed=number)
            passes.append(await profiler.measure(POINTS))
            profiler.close()
            await asyncio.sleep(_PAUSE_S)
            answers += await load(port, num_requests, rate, number, began_s)
            await asyncio.sleep(_PAUSE_S)
    profile = make_profile(MODEL, together(passes), model_shape(str(await builtin_model())))
    return _comparison(engine, profile, answers)


async def load(port: int, num_requests: int, rate: float, seed: int, began_s: float) -> list[Answer]:
    """Open loop: each request is sent when it is due. Arrivals are counted from `began_s`."""
    random = Random(seed)
    times, pairs = arrival_times(ArrivalSpec(rate=rate), random), lengths(LENGTHS, random)
    client = StreamingClient("127.0.0.1", port, clock.now_s)
    answers: list[Answer] = []
    load_began_s = clock.now_s()

    async def send(num_prompt: int, num_output: int) -> None:
        body = _body(random, num_prompt, num_output)
        sent_s = clock.now_s()
        exchange = await client.post("/v1/completions", body)
        answers.append(Answer(RequestSpec(sent_s - began_s, num_prompt, num_output), exchange, sent_s))

    async with asyncio.TaskGroup() as sending:
        for due_s, pair, _ in zip(times, pairs, range(num_requests), strict=False):
            await asyncio.sleep(max(0.0, load_began_s + due_s - clock.now_s()))
            sending.create_task(send(*pair))
    client.close()
    return sorted(answers, key=lambda answer: answer.sent_s)


def _body(random: Random, num_prompt: int, num_output: int) -> bytes:
    prompt = [random.randint(*_IDS) for _ in range(num_prompt)]
    body = {"model": MODEL, "prompt": prompt, "max_tokens": num_output, "ignore_eos": True}
    return json.dumps({**body, "temperature": 0, "stream": True, "return_token_ids": True}).encode()


def _comparison(engine: str, profile: CostProfile, answers: Sequence[Answer]) -> Comparison:
    whole = [answer for answer in answers if answer.is_whole]
    ttfts_s = summarize(answer.exchange.event_times_s[0] - answer.sent_s for answer in whole)
    tpots_s = summarize(
        (answer.exchange.event_times_s[-1] - answer.exchange.event_times_s[0]) / (answer.spec.num_output_tokens - 1)
        for answer in whole  # by tokens, not by events: tokens that arrive together are one event
        if answer.spec.num_output_tokens > 1
    )
    live = {"TTFT": ttfts_s, "TPOT": tpots_s}
    simulated = simulate(profile, [answer.spec for answer in answers])
    return Comparison(engine, profile, len(answers), len(answers) - len(whole), live, simulated)


def simulate(profile: CostProfile, requests: Sequence[RequestSpec]) -> dict[str, Summary | None]:
    """TTFT and TPOT of the same requests in a cluster of the same two workers."""
    pool = PoolSpec(Role.PREFILL, max_step_tokens=MAX_BATCH_TOKENS, num_kv_tokens=200_000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "profile.json")
        profile.write(file)
        cluster = Cluster(profiled(Scenario(pools=(pool, replace(pool, role=Role.DECODE))), file))
    cluster.run(requests)
    shown = report(cluster)
    assert shown.requests.num_finished == len(requests), shown.requests
    return {"TTFT": shown.latencies["ttft_s"], "TPOT": shown.latencies["tpot_s"]}


def table(comparisons: Sequence[Comparison]) -> str:
    """Live and simulated side by side, in milliseconds, with the simulator's relative error."""
    lines = ["engine  metric  quantile      live  simulated   error"]
    for found in comparisons:
        for name in ("TTFT", "TPOT"):
            for quantile in ("p50", "p90"):
                live, simulated = (getattr(side[name], quantile) for side in (found.live, found.simulated))
                figures = f"{live * 1e3:8.2f}  {simulated * 1e3:9.2f}  {simulated / live - 1:+6.1%}"
                lines.append(f"{found.engine:6}  {name:6}  {quantile:8}  {figures}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    parser.add_argument("--engines", nargs="+", default=["mock", "torch"], choices=["mock", "torch"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=60, help="of each round")
    parser.add_argument("--rate", type=float, default=4.0, help="requests per second")
    flags = parser.parse_args()
    print(describe_machine(), flush=True)
    comparisons: list[Comparison] = []
    for engine in flags.engines:
        found = uvloop.run(compare(engine, flags.rounds, flags.requests, flags.rate))
        print(
            f"\n{engine}: {found.num_sent} requests, {found.num_failed} failed\n{describe(found.profile)}", flush=True
        )
        comparisons.append(found)
    print(f"\n{table(comparisons)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
