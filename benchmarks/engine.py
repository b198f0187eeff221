"""The engine beside transformers, on the same checkpoints, in the same run.

    python -m benchmarks.engine [--models tiny,small] [--dtypes float32,bfloat16] [--threads 2] [--clock wall|cpu]

Decode: tokens/s of a batch after prompts of 64 tokens. Prefill: prompt tokens/s to the first token. Each side is a
process of its own with as many threads; both warm up; then they take turns, round by round, and the median round of
each counts. `--clock cpu --threads 1` counts CPU seconds, which a busy machine does not inflate.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.engine_sides import MIXED, SIDES, Case, Side
from benchmarks.machine import describe
from penstock.engine.tiny.checkpoint import make_tiny_checkpoint

MODELS = {"tiny": "built-in: hidden 128, 4 layers, vocabulary 1,536", "small": "Llama: hidden 512, 8 layers, 32,000"}
CASES = (
    *(Case("decode", batch_size) for batch_size in (1, 8, 32)),
    *(Case("prefill", num_tokens) for num_tokens in (512, 2048)),
    Case("mixed", len(MIXED)),
)
NUM_THREADS = len(os.sched_getaffinity(0))
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

_sides: list[Side] = []  # of this process, once started as one


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One measurement, tokens/s."""

    model: str
    dtype: str
    what: str
    penstock: float
    transformers: float

    @property
    def ratio(self) -> float:
        return self.penstock / self.transformers


@dataclass(frozen=True, slots=True)
class Effort:
    """How each side is measured."""

    rounds: int = 7
    num_threads: int = NUM_THREADS
    clock: str = "wall"


def run(
    models: tuple[str, ...] = tuple(MODELS),
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
    effort: Effort = Effort(),
) -> list[EngineRow]:
    """Measure every combination."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            folder = Path(scratch) / model
            with _process() as process:
                process.submit(_make, model, folder).result()
            for dtype in dtypes:
                with _process() as ours, _process() as theirs:
                    processes = {"penstock": ours, "transformers": theirs}
                    for name, process in processes.items():
                        process.submit(_start, name, folder, dtype, effort.num_threads).result()
                    rows += [EngineRow(model, dtype, case.name, **_rates(processes, case, effort)) for case in CASES]
    return rows


def table(rows: list[EngineRow]) -> str:
    """The rows as text."""
    header = f"{'model':8}{'dtype':10}{'tokens/s':18}{'penstock':>10}{'transformers':>14}{'ratio':>8}"
    body = (
        f"{row.model:8}{row.dtype:10}{row.what:18}{row.penstock:10.0f}{row.transformers:14.0f}{row.ratio:7.2f}x"
        for row in rows
    )
    return "\n".join((header, *body, *(f"{name}: {text}" for name, text in MODELS.items())))


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _start(name: str, folder: Path, dtype: str, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    _sides.append(SIDES[name](folder, dtype))


def _run_s(case: Case, clock: str) -> float:
    return _sides[0].run_s(case, CLOCKS[clock])


def _rates(processes: dict[str, ProcessPoolExecutor], case: Case, effort: Effort) -> dict[str, float]:
    """Tokens/s by side, the first round being warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(effort.rounds + 1):
        for name, process in processes.items():
            seconds[name].append(process.submit(_run_s, case, effort.clock).result())
    return {name: case.num_tokens / statistics.median(of_side[1:]) for name, of_side in seconds.items()}


def _make(model: str, folder: Path) -> None:
    if model == "tiny":
        make_tiny_checkpoint(folder)
        return
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=NUM_THREADS, help="of each side")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    options = parser.parse_args()
    effort = Effort(options.rounds, options.threads, options.clock)
    print(describe())
    print(f"{effort.num_threads} threads, {effort.clock} clock, median of {effort.rounds} rounds")
    models, dtypes = tuple(options.models.split(",")), tuple(options.dtypes.split(","))
    print(table(run(models, dtypes, effort)))


if __name__ == "__main__":
    main()
