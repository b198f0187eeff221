"""Fitted iteration models for common (GPU, model, TP), from the file beside this one, which names their sources.

Decode may have several regimes by batch size: DistServe fits small and large batches apart, and a mixture of experts
reads more of its weights the larger the batch, so that only a chain of straight lines follows its measured points.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from penstock.core.errors import InvalidSettings
from penstock.core.step_cost import StepCost

_FILE = Path(__file__).with_name("fitted_costs.json")


@dataclass(frozen=True, slots=True)
class FittedCost:
    """`regimes[i]` holds for at least `first_sequences[i]` decodes, until the next one begins."""

    first_sequences: tuple[int, ...]
    regimes: tuple[StepCost, ...]

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """As `StepCost.step_s`, in the regime of `num_decodes`."""
        return self._regime(num_decodes).step_s(chunks, num_decodes, num_context_tokens)

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """As `StepCost.decode_s`, in the regime of `num_sequences`."""
        return self._regime(num_sequences).decode_s(num_sequences, num_context_tokens)

    def _regime(self, num_decodes: int) -> StepCost:
        if len(self.regimes) == 1:
            return self.regimes[0]
        return self.regimes[max(0, bisect_right(self.first_sequences, num_decodes) - 1)]


@cache
def _entries() -> dict[tuple[str, str, int, str], FittedCost]:
    entries: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf8"))
    return {(entry["gpu"], entry["model"], entry["tp"], entry["engine"]): _fitted(entry) for entry in entries}


def _fitted(entry: dict[str, Any]) -> FittedCost:
    """From milliseconds, as published: prefill [base, per token, per token squared],
    decode [from this many sequences, base, per context token, per sequence]."""
    prefill = [value / 1000 for value in entry["prefill_ms"]]
    regimes = [StepCost(*prefill, *(value / 1000 for value in regime[1:])) for regime in entry["decode_ms"]]
    return FittedCost(tuple(regime[0] for regime in entry["decode_ms"]), tuple(regimes))


def find_fitted(gpu: str, model: str, tp: int, engine: str = "") -> FittedCost:
    """The fit of this pair; an engine need only be named where several were fitted."""
    entries = _entries()
    found = [cost for key, cost in entries.items() if key[:3] == (gpu, model, tp) and engine in ("", key[3])]
    if not found:
        known = ", ".join(sorted({f"{key[0]} {key[1]} tp={key[2]}" for key in entries}))
        raise InvalidSettings("cost", f"{gpu} {model} tp={tp}", f"no fit; there are {known}; or use kind: roofline")
    return found[0]
