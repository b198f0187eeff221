"""From a batch of sequences to the tensors of a forward pass: built with numpy on the host, one copy to the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from penstock.core.types import Batch, ScheduledSequence
from penstock.engine.attention.protocol import AttentionStep
from penstock.engine.sampler import SamplingRow


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """Of a step that runs tokens of images."""

    positions: npt.NDArray[np.int64]  # [3, num_tokens], of every token: in time, row and column
    places: npt.NDArray[np.int64]  # [num_image_tokens], among all tokens of the step
    rows: npt.NDArray[np.int64]  # [num_image_tokens], slots in the pool of embeddings


@dataclass(frozen=True, slots=True)
class StepInputs:
    """One step on the host. Taken from the sequences before the step leaves the event loop, which may change them."""

    query_lengths: tuple[int, ...]
    context_lengths: tuple[int, ...]
    num_decodes: int
    wide: npt.NDArray[np.int64]  # [3, num_tokens]: token ids, positions, slots
    query_starts: npt.NDArray[np.int32]  # [num_sequences + 1]
    contexts: npt.NDArray[np.int32]  # [num_sequences]
    block_tables: npt.NDArray[np.int32]  # [num_sequences, most blocks in use], padded with 0
    sampled_tokens: npt.NDArray[np.int64]  # place of each sampled item's last token among all tokens
    sampled_items: tuple[int, ...]  # their places in the batch
    rows: tuple[SamplingRow, ...]
    images: ImageTokens | None = None

    @property
    def num_tokens(self) -> int:
        return int(self.wide.shape[1])


def build_inputs(batch: Batch, block_size: int, eos_token_ids: Sequence[int]) -> StepInputs:
    """Put decodes first, flatten all tokens."""
    order = _order(batch)
    items = [batch.items[i] for i in order]
    query_lengths = tuple(item.num_tokens for item in items)
    context_lengths = tuple(item.end for item in items)
    num_decodes = query_lengths.count(1)
    ends = list(accumulate(query_lengths))
    sampled = [i for i, item in enumerate(items) if item.is_sampled]
    return StepInputs(
        query_lengths=query_lengths,
        context_lengths=context_lengths,
        num_decodes=num_decodes,
        wide=_flattened(items, num_decodes, block_size),
        query_starts=np.array((0, *ends), np.int32),
        contexts=np.array(context_lengths, np.int32),
        block_tables=_block_tables(items, block_size),
        sampled_tokens=np.array([ends[i] - 1 for i in sampled], np.int64),
        sampled_items=tuple(order[i] for i in sampled),
        rows=tuple(_sampling_row(items[i], eos_token_ids) for i in sampled),
    )


def in_order(batch: Batch) -> list[ScheduledSequence]:
    """As their tokens are flattened."""
    return [batch.items[i] for i in _order(batch)]


def to_device(inputs: StepInputs, device: torch.device) -> tuple[Tensor, Tensor, AttentionStep]:
    """Token ids, places of the sampled tokens, and what attention needs."""
    if device.type == "cpu":
        arrays = (inputs.sampled_tokens, inputs.query_starts, inputs.contexts, inputs.block_tables)
        wide, (sampled, starts, contexts, tables) = torch.from_numpy(inputs.wide), map(torch.from_numpy, arrays)
    else:
        wide, sampled, starts, contexts, tables = copy_at_once(inputs, device)
    token_ids, positions, slots = wide.unbind(0)
    step = AttentionStep(
        num_decodes=inputs.num_decodes,
        query_lengths=inputs.query_lengths,
        context_lengths=inputs.context_lengths,
        query_starts=starts,
        contexts=contexts,
        block_tables=tables,
        positions=positions,
        slots=slots,
    )
    return token_ids, sampled, step


def copy_at_once(inputs: StepInputs, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All arrays in one transfer, cut apart on the device."""
    narrow = np.concatenate((inputs.query_starts, inputs.contexts, inputs.block_tables.ravel()))
    as_wide = np.pad(narrow, (0, len(narrow) % 2)).view(np.int64)
    packed = torch.from_numpy(np.concatenate((inputs.wide.ravel(), inputs.sampled_tokens, as_wide)))
    tensor = packed.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else packed.to(device)
    num_wide, num_sampled, num_sequences = inputs.wide.size, len(inputs.sampled_tokens), len(inputs.contexts)
    wide, sampled, rest = tensor.tensor_split((num_wide, num_wide + num_sampled))
    starts, contexts, tables = rest.view(torch.int32)[: len(narrow)].tensor_split(
        (num_sequences + 1, 2 * num_sequences + 1)
    )
    return wide.view(3, -1), sampled, starts, contexts, tables.view(num_sequences, -1)


def _order(batch: Batch) -> list[int]:
    return sorted(range(len(batch.items)), key=lambda i: batch.items[i].num_tokens > 1)


def _flattened(items: Sequence[ScheduledSequence], num_decodes: int, block_size: int) -> npt.NDArray[np.int64]:
    runs = [_run_tokens(item, block_size) for item in items[num_decodes:]]
    return np.concatenate((_decode_tokens(items[:num_decodes], block_size), *runs), axis=1)


def _decode_tokens(items: Sequence[ScheduledSequence], block_size: int) -> npt.NDArray[np.int64]:
    """[3, num_decodes], as StepInputs.wide; lists are quicker than arrays for single tokens."""
    places = [(item.sequence, item.start) for item in items]
    token_ids = [sequence.token_ids[start] for sequence, start in places]
    slots = [s.block_ids[start // block_size] * block_size + start % block_size for s, start in places]
    return np.array((token_ids, [start for _, start in places], slots), np.int64)


def _run_tokens(item: ScheduledSequence, block_size: int) -> npt.NDArray[np.int64]:
    """[3, num_tokens], as StepInputs.wide."""
    positions = np.arange(item.start, item.end)
    first_block = item.start // block_size
    blocks = np.array(item.sequence.block_ids[first_block : -(-item.end // block_size)])
    slots = blocks[positions // block_size - first_block] * block_size + positions % block_size
    return np.array((item.sequence.token_ids[item.start : item.end], positions, slots), np.int64)


def _block_tables(items: Sequence[ScheduledSequence], block_size: int) -> npt.NDArray[np.int32]:
    counts = [-(-item.end // block_size) for item in items]
    tables = np.zeros((len(items), max(counts)), np.int32)
    for row, item, count in zip(tables, items, counts, strict=True):
        row[:count] = item.sequence.block_ids[:count]
    return tables


def _sampling_row(item: ScheduledSequence, eos_token_ids: Sequence[int]) -> SamplingRow:
    sequence, request = item.sequence, item.sequence.request
    row = SamplingRow(
        request.sampling, sequence.num_output_tokens, request.prompt_token_ids, eos_token_ids=eos_token_ids
    )
    if not row.has_penalties:
        return row  # nothing else looks at the output so far, and copying it costs a step
    output = tuple(sequence.token_ids[len(request.prompt_token_ids) :])
    return SamplingRow(row.params, row.position, row.prompt_token_ids, output, eos_token_ids)
