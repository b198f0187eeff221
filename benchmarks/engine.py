"""The engine beside transformers, on the same checkpoints, one after the other, each in a process of its own.

    python -m benchmarks.engine [--models tiny,small] [--dtypes float32,bfloat16] [--rounds 5]

Decode: tokens/s of a batch after prompts of 64 tokens; transformers runs `generate` on prompts of equal length, which
spares it padding. Prefill: prompt tokens/s to the first token. The best of several rounds counts, on both sides.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.machine import describe
from penstock.engine.model_runner import ModelRunner, build
from penstock.engine.options import EngineOptions
from penstock.engine.tiny.checkpoint import make_tiny_checkpoint
from penstock.runtime import clock
from tests.integration.drive_runner import Driver

BATCH_SIZES = (1, 8)
PROMPT_LENGTHS = (512, 2048)
CONTEXT_TOKENS = 64
NUM_NEW_TOKENS = 64
MIXED = ((16, 16), (33, 128), (64, 24), (97, 96), (128, 40), (161, 64), (192, 120), (255, 32))  # prompt, output tokens
MODELS = {"tiny": "built-in: hidden 128, 4 layers, vocabulary 1,536", "small": "Llama: hidden 512, 8 layers, 32,000"}
NUM_MIXED_TOKENS = sum(output for _, output in MIXED)
Figures = dict[str, float]  # tokens/s by what was measured


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


def run(
    models: tuple[str, ...] = tuple(MODELS), dtypes: tuple[str, ...] = ("float32", "bfloat16"), rounds: int = 5
) -> list[EngineRow]:
    """Measure every combination. The sides take turns, so that neither shares threads or allocator with the other."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            folder = Path(scratch) / model
            _in_own_process(_make, model, folder)
            for dtype in dtypes:
                theirs = _in_own_process(_measure_transformers, folder, dtype, rounds)
                ours = _in_own_process(_measure_penstock, folder, dtype, rounds)
                rows += [EngineRow(model, dtype, what, ours[what], theirs[what]) for what in theirs]
    return rows


def table(rows: list[EngineRow]) -> str:
    """The rows as text."""
    header = f"{'model':8}{'dtype':10}{'tokens/s':18}{'penstock':>10}{'transformers':>14}{'ratio':>8}"
    body = (
        f"{row.model:8}{row.dtype:10}{row.what:18}{row.penstock:10.0f}{row.transformers:14.0f}{row.ratio:7.2f}x"
        for row in rows
    )
    return "\n".join((header, *body, *(f"{name}: {text}" for name, text in MODELS.items())))


def _in_own_process(measure: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure, *arguments).result()


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


def _prompts(num_sequences: int, num_tokens: int) -> torch.Tensor:
    return torch.randint(3, 1500, (num_sequences, num_tokens), generator=torch.Generator().manual_seed(0))


def _padded_mixed_prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Padded on the left, and which tokens count."""
    longest = max(length for length, _ in MIXED)
    prompts, mask = (
        torch.zeros(len(MIXED), longest, dtype=torch.long),
        torch.zeros(len(MIXED), longest, dtype=torch.long),
    )
    for row, (length, _) in enumerate(MIXED):
        prompts[row, longest - length :] = _prompts(1, length)[0]
        mask[row, longest - length :] = 1
    return prompts, mask


def _fastest_s(rounds: int, measure_s: Callable[..., float], *arguments: Any) -> float:
    measure_s(*arguments)  # warms up
    return min(measure_s(*arguments) for _ in range(rounds))


@torch.inference_mode()
def _measure_transformers(folder: Path, dtype: str, rounds: int) -> Figures:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def generate_s(prompts: torch.Tensor, mask: torch.Tensor, num_new_tokens: int) -> float:
        options = {"max_new_tokens": num_new_tokens, "min_new_tokens": num_new_tokens, "do_sample": False}
        began_s = clock.now_s()
        model.generate(prompts, attention_mask=mask, pad_token_id=0, **options)
        return clock.now_s() - began_s

    def prefill_s(prompts: torch.Tensor) -> float:
        began_s = clock.now_s()
        model(prompts, logits_to_keep=1).logits.argmax(-1)
        return clock.now_s() - began_s

    figures: Figures = {}
    for batch_size in BATCH_SIZES:
        prompts = _prompts(batch_size, CONTEXT_TOKENS)
        mask = torch.ones_like(prompts)
        whole_s = _fastest_s(rounds, generate_s, prompts, mask, NUM_NEW_TOKENS + 1)
        first_s = _fastest_s(rounds, generate_s, prompts, mask, 1)
        figures[f"decode, batch {batch_size}"] = batch_size * NUM_NEW_TOKENS / (whole_s - first_s)
    for length in PROMPT_LENGTHS:
        figures[f"prefill, {length}"] = length / _fastest_s(rounds, prefill_s, _prompts(1, length))
    # one padded batch runs until its longest answer is done
    mixed_s = _fastest_s(rounds, generate_s, *_padded_mixed_prompts(), max(output for _, output in MIXED))
    figures["8 mixed requests"] = NUM_MIXED_TOKENS / mixed_s
    return figures


def _measure_penstock(folder: Path, dtype: str, rounds: int) -> Figures:
    runner = build(EngineOptions(folder, device="cpu", dtype=dtype, num_blocks=256))
    figures: Figures = {}
    for batch_size in BATCH_SIZES:
        decode_s = _fastest_s(rounds, lambda *case: asyncio.run(_decode_s(*case)), runner, batch_size)
        figures[f"decode, batch {batch_size}"] = batch_size * NUM_NEW_TOKENS / decode_s
    for length in PROMPT_LENGTHS:
        prefill_s = _fastest_s(rounds, lambda *case: asyncio.run(_prefill_s(*case)), runner, length)
        figures[f"prefill, {length}"] = length / prefill_s
    mixed_s = _fastest_s(rounds, lambda: asyncio.run(_mixed_s(runner)))
    figures["8 mixed requests"] = NUM_MIXED_TOKENS / mixed_s
    runner.close()
    return figures


async def _decode_s(runner: ModelRunner, batch_size: int) -> float:
    driver = Driver(runner)
    sequences = [driver.sequence(prompt) for prompt in _prompts(batch_size, CONTEXT_TOKENS).tolist()]
    await driver.generate(sequences, 1)
    began_s = clock.now_s()
    await driver.generate(sequences, NUM_NEW_TOKENS + 1)
    return clock.now_s() - began_s


async def _mixed_s(runner: ModelRunner) -> float:
    """All prompts and all outputs; a sequence leaves the batch as soon as it is done."""
    driver = Driver(runner)
    prompts = [_prompts(1, length)[0].tolist() for length, _ in MIXED]
    began_s = clock.now_s()
    left = [(driver.sequence(prompt), output) for prompt, (_, output) in zip(prompts, MIXED, strict=True)]
    while left:
        await driver.step([(sequence, sequence.num_tokens_to_run) for sequence, _ in left])
        left = [(sequence, output) for sequence, output in left if sequence.num_output_tokens < output]
    return clock.now_s() - began_s


async def _prefill_s(runner: ModelRunner, num_tokens: int) -> float:
    driver = Driver(runner)
    sequence = driver.sequence(_prompts(1, num_tokens)[0].tolist())
    began_s = clock.now_s()
    await driver.step([(sequence, num_tokens)])
    return clock.now_s() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(describe())
    print(table(run(tuple(options.models.split(",")), tuple(options.dtypes.split(",")), options.rounds)))


if __name__ == "__main__":
    main()
