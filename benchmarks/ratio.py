"""The ratio of prefill to decode under a load that turns: role control against every fixed ratio worth trying.

Eight workers whose engine sleeps. Phases of long prompts with short answers take turns with phases of short prompts
with long answers; each asks for more than any fixed ratio can serve that serves the other phase too. Goodput counts
the answers that kept both objectives. The first run's report draws pools and flips.
"""

import argparse
import asyncio
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import uvloop

from benchmarks.serving import system
from penstock.core.timeline import Slo, meets
from penstock_loadgen.cluster_watch import ClusterHistory
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.experiment import Experiment, Trial
from penstock_loadgen.live_run import Patience
from penstock_loadgen.results import write_results
from penstock_loadgen.targets import Outcome, live_target
from penstock_loadgen.traces import TraceSpec
from penstock_loadgen.workload import WorkloadSpec

NUM_WORKERS = 8
SLO = Slo(ttft_s=4.0, tpot_s=0.15)
# One worker prefills 3,333 tokens/s, and decodes 16 sequences at 17 tokens/s each: slow enough for two cores to play.
ENGINE = (
    "--engine=mock",
    "--mock-costs=prefill_s=0.002,prefill_s_per_token=3e-4,decode_s=0.06",
    "--max-num-sequences=16",
    "--max-batch-tokens=1024",
    f"--ttft-slo-s={SLO.ttft_s}",
    f"--tpot-slo-s={SLO.tpot_s}",
)


@dataclass(frozen=True)
class Phase:
    """A kind of traffic."""

    num_prompt_tokens: int
    num_output_tokens: int
    rate: float  # requests/s


PHASES = (Phase(3000, 8, 5.8), Phase(60, 160, 9.3))


@dataclass(frozen=True)
class RatioRow:
    """One run, measured."""

    name: str
    workload: WorkloadSpec
    target: dict[str, Any]
    trial: Trial
    goodput: tuple[float, ...]  # good answers/s of each phase

    @property
    def total(self) -> float:
        return sum(self.goodput) / len(self.goodput)


def write_trace(path: Path, phase_s: float, num_phases: int) -> None:
    """Poisson arrivals of each phase in turn, as a trace in Azure's format."""
    random, began = Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for number in range(num_phases):
            phase, at_s = PHASES[number % len(PHASES)], number * phase_s
            while (at_s := at_s + random.expovariate(phase.rate)) < (number + 1) * phase_s:
                stamp = (began + timedelta(seconds=at_s)).strftime("%Y-%m-%d %H:%M:%S.%f")
                writer.writerow([stamp, phase.num_prompt_tokens, phase.num_output_tokens])


def play(port: int, workload: WorkloadSpec) -> tuple[Outcome, dict[str, Any]]:
    """The workload, by one load process; and what it was run on."""
    target = live_target(EndpointSpec(f"http://127.0.0.1:{port}", api="completions"), Patience())
    return target.run(workload, lambda now_s, reading: None), target.describe()


async def drive(name: str, flags: Sequence[str], workload: WorkloadSpec, phase_s: float, num_phases: int) -> RatioRow:
    """One system, one run of all phases."""
    async with system(*ENGINE, *flags) as port:
        outcome, target = await asyncio.to_thread(play, port, workload)
    good = [0] * num_phases
    for record in outcome.records:
        if record.is_success and meets(record.timeline, SLO):
            good[min(num_phases - 1, int(record.due_s / phase_s))] += 1
    return RatioRow(name, workload, target, Trial.of(workload, outcome), tuple(number / phase_s for number in good))


async def run(ratios: Sequence[int], phase_s: float, num_phases: int) -> list[RatioRow]:
    """Role control first, from an even split; then each fixed number of prefill workers."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "phases.csv"
        write_trace(trace, phase_s, num_phases)
        workload = WorkloadSpec(name="phases", num_requests=0, slo=SLO, trace=TraceSpec("azure", str(trace)))
        for num_prefill in (None, *ratios):
            split = NUM_WORKERS // 2 if num_prefill is None else num_prefill
            flags = [f"--prefill={split}", f"--decode={NUM_WORKERS - split}"]
            flags.append("--steering=auto" if num_prefill is None else "--steering=pinned")
            name = "role control" if num_prefill is None else f"{split} prefill, {NUM_WORKERS - split} decode"
            rows.append(await drive(name, flags, workload, phase_s, num_phases))
            print(_line(rows[-1]), flush=True)
    return rows


def _line(row: RatioRow) -> str:
    by_phase = "  ".join(f"{goodput:5.1f}" for goodput in row.goodput)
    summary = row.trial.repeat.summary
    return f"{row.name:22} {row.total:6.2f}   {by_phase}   {summary.num_failed:6d}"


def flips(history: ClusterHistory, phase_s: float) -> str:
    """When roles changed, in seconds since the phase began."""
    times = [event.time_s for event in history.events if "flipped" in event.what]
    return ", ".join(f"{time_s % phase_s:.0f} s into phase {int(time_s / phase_s) + 1}" for time_s in times) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", type=float, default=60.0, metavar="S", help="seconds of a phase (default: 60)")
    parser.add_argument("--phases", type=int, default=4, help="how many (default: 4)")
    parser.add_argument("--ratios", type=int, nargs="*", default=[2, 3, 4, 5, 6], help="fixed prefill workers")
    parser.add_argument("--out", type=Path, default=Path("bench-results/ratio"), help="folder of the report")
    options = parser.parse_args()
    print(f"{'':22} good/s   by phase{'':{7 * options.phases - 8}}   failed")
    rows = uvloop.run(run(options.ratios, options.phase, options.phases))
    controlled, *fixed = rows
    if fixed:
        best = max(fixed, key=lambda row: row.total)
        gain = controlled.total / best.total
        print(f"\nrole control serves {gain:.2f} times what the best fixed ratio does ({best.name})")
    print(f"flips: {flips(controlled.trial.outcome.history, options.phase)}")
    options.out.mkdir(parents=True, exist_ok=True)
    experiment = Experiment.of(controlled.workload, controlled.target, [controlled.trial])
    write_results(options.out, experiment, [controlled.trial])
    print(options.out / "report.html")


if __name__ == "__main__":
    main()
