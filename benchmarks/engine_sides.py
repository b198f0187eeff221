"""The two sides of benchmarks.engine: each loads a checkpoint in a process of its own and runs a case when asked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import uvloop
from transformers import AutoModelForCausalLM

from penstock.engine.model_runner import ModelRunner, build
from penstock.engine.options import EngineOptions
from tests.integration.drive_runner import Driver

CONTEXT_TOKENS = 64
NUM_NEW_TOKENS = 64
MIXED = ((16, 16), (33, 128), (64, 24), (97, 96), (128, 40), (161, 64), (192, 120), (255, 32))  # prompt, output tokens


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, in tokens/s."""

    kind: str  # decode, prefill or mixed
    size: int  # of the batch, or tokens of the prompt

    @property
    def num_tokens(self) -> int:
        """Counted for the rate."""
        return {"decode": self.size * NUM_NEW_TOKENS, "prefill": self.size}.get(
            self.kind, sum(output for _, output in MIXED)
        )

    @property
    def name(self) -> str:
        return {"decode": f"decode, batch {self.size}", "prefill": f"prefill, {self.size}"}.get(
            self.kind, f"{self.size} mixed requests"
        )


Clock = Callable[[], float]


class Side(Protocol):
    """A model, ready to run."""

    def run_s(self, case: Case, now_s: Clock) -> float:
        """Run the case once; seconds of that clock."""
        ...


def prompts(num_sequences: int, num_tokens: int) -> torch.Tensor:
    return torch.randint(3, 1500, (num_sequences, num_tokens), generator=torch.Generator().manual_seed(0))


class Transformers:
    """`generate` as documented: dynamic cache, sdpa attention. Prompts of equal length spare it padding."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def run_s(self, case: Case, now_s: Clock) -> float:
        if case.kind == "decode":
            batch = prompts(case.size, CONTEXT_TOKENS)
            mask = torch.ones_like(batch)
            whole_s = _time_s(now_s, self._generate, batch, mask, NUM_NEW_TOKENS + 1)
            return whole_s - _time_s(now_s, self._generate, batch, mask, 1)
        if case.kind == "prefill":
            return _time_s(now_s, self._prefill, prompts(1, case.size))
        # one padded batch runs until its longest answer is done
        return _time_s(now_s, self._generate, *_padded_mixed_prompts(), max(output for _, output in MIXED))

    def _generate(self, batch: torch.Tensor, mask: torch.Tensor, num_new_tokens: int) -> None:
        options = {"max_new_tokens": num_new_tokens, "min_new_tokens": num_new_tokens, "do_sample": False}
        self._model.generate(batch, attention_mask=mask, pad_token_id=0, **options)

    def _prefill(self, prompt: torch.Tensor) -> None:
        self._model(prompt, logits_to_keep=1).logits.argmax(-1)


class Penstock:
    """The runner of a worker, driven without the engine loop."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self._runner = build(EngineOptions(folder, device="cpu", dtype=dtype, num_blocks=512))

    def run_s(self, case: Case, now_s: Clock) -> float:
        run_s = {"decode": _decode_s, "prefill": _prefill_s, "mixed": _mixed_s}[case.kind]
        seconds: float = uvloop.run(run_s(self._runner, case.size, now_s))  # the loop of a worker
        return seconds


def _time_s(now_s: Clock, act: Callable[..., None], *arguments: Any) -> float:
    began_s = now_s()
    act(*arguments)
    return now_s() - began_s


def _padded_mixed_prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Padded on the left, and which tokens count."""
    longest = max(length for length, _ in MIXED)
    batch, mask = torch.zeros(2, len(MIXED), longest, dtype=torch.long)
    for row, (length, _) in enumerate(MIXED):
        batch[row, longest - length :] = prompts(1, length)[0]
        mask[row, longest - length :] = 1
    return batch, mask


async def _decode_s(runner: ModelRunner, batch_size: int, now_s: Clock) -> float:
    driver = Driver(runner)
    sequences = [driver.sequence(prompt) for prompt in prompts(batch_size, CONTEXT_TOKENS).tolist()]
    await driver.generate(sequences, 1)
    began_s = now_s()
    await driver.generate(sequences, NUM_NEW_TOKENS + 1)
    return now_s() - began_s


async def _prefill_s(runner: ModelRunner, num_tokens: int, now_s: Clock) -> float:
    driver = Driver(runner)
    sequence = driver.sequence(prompts(1, num_tokens)[0].tolist())
    began_s = now_s()
    await driver.step([(sequence, num_tokens)])
    return now_s() - began_s


async def _mixed_s(runner: ModelRunner, _num_requests: int, now_s: Clock) -> float:
    """All prompts and all outputs; a sequence leaves the batch as soon as it is done."""
    driver = Driver(runner)
    batch = [prompts(1, length)[0].tolist() for length, _ in MIXED]
    began_s = now_s()
    left = [(driver.sequence(prompt), output) for prompt, (_, output) in zip(batch, MIXED, strict=True)]
    while left:
        await driver.step([(sequence, sequence.num_tokens_to_run) for sequence, _ in left])
        left = [(sequence, output) for sequence, output in left if sequence.num_output_tokens < output]
    return now_s() - began_s


SIDES: dict[str, Callable[[Path, str], Side]] = {"penstock": Penstock, "transformers": Transformers}
