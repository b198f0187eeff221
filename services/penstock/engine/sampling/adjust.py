"""Changes to single logits before the draw, in vLLM's order: min_tokens masks, logit bias, penalties.

Only the entries that change are touched: they are collected as flat indices (row * vocab + token) on the host and
applied with one gather and one scatter for the whole batch. A row with penalties costs its context length on the host
in every step; rows without any cost nothing.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.engine.sampling.rows import SamplingRow


def adjust(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    """[n, vocab] -> adjusted logits; the argument itself when no row asks for a change, else a changed copy."""
    if not any(row.is_adjusted for row in rows):
        return logits
    adjusted = logits.clone()
    _bias(adjusted, rows)
    _penalise(adjusted, rows)
    return adjusted


def _bias(logits: Tensor, rows: Sequence[SamplingRow]) -> None:
    """Add the logit biases, and minus infinity to what would end a sequence that must go on."""
    vocab = logits.shape[-1]
    indices: list[int] = []
    values: list[float] = []
    for index, row in enumerate(rows):
        biases: list[tuple[int, float]] = list(row.params.logit_bias)
        if row.must_continue:
            biases += [(token_id, -math.inf) for token_id in _ending_token_ids(row)]
        for token_id, value in biases:
            if 0 <= token_id < vocab:
                indices.append(index * vocab + token_id)
                values.append(value)
    if indices:
        flat = torch.tensor(indices, device=logits.device)
        logits.view(-1).index_add_(0, flat, torch.tensor(values, dtype=logits.dtype, device=logits.device))


def _ending_token_ids(row: SamplingRow) -> set[int]:
    """A set: an id listed twice is masked once."""
    eos = () if row.params.ignore_eos else row.eos_token_ids
    return {*eos, *row.params.stop_token_ids}


def _penalise(logits: Tensor, rows: Sequence[SamplingRow]) -> None:
    """Repetition penalty on tokens of prompt and output; frequency and presence penalties on tokens of the output."""
    penalised = [(index, row) for index, row in enumerate(rows) if row.has_penalties]
    if not penalised:
        return
    vocab = logits.shape[-1]
    flat, num_seen = _occurrences(((index, row.output_token_ids) for index, row in penalised), vocab)
    prompts = ((index, row.prompt_token_ids) for index, row in penalised if row.params.repetition_penalty != 1.0)
    prompt_only = np.setdiff1d(_occurrences(prompts, vocab)[0], flat, assume_unique=True)
    flat = np.concatenate((flat, prompt_only))
    num_seen = np.concatenate((num_seen, np.zeros(len(prompt_only), dtype=np.int64)))

    owners = flat // vocab
    by_row = np.zeros((3, len(rows)))
    for index, row in penalised:
        params = row.params
        by_row[:, index] = params.repetition_penalty, params.frequency_penalty, params.presence_penalty
    repetition, frequency, presence = by_row[:, owners]
    subtracted = frequency * num_seen + presence * (num_seen > 0)

    where = torch.from_numpy(flat).to(logits.device)
    factor = torch.from_numpy(repetition).to(logits.device, logits.dtype)
    values = logits.view(-1)[where]
    values = torch.where(values > 0, values / factor, values * factor)
    logits.view(-1)[where] = values - torch.from_numpy(subtracted).to(logits.device, logits.dtype)


def _occurrences(
    contexts: Iterable[tuple[int, Sequence[int]]], vocab: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct flat indices of the tokens of some rows, ascending, and how often each occurs."""
    parts = [np.empty(0, dtype=np.int64)]
    for index, token_ids in contexts:
        tokens = np.array(token_ids, dtype=np.int64)
        parts.append(tokens[(tokens >= 0) & (tokens < vocab)] + index * vocab)
    flat, counts = np.unique(np.concatenate(parts), return_counts=True)
    return flat, counts.astype(np.int64)
