"""From a batch of sequences to the tensors of a forward pass: built with numpy on the host, one copy to the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from penstock.core.types import Batch, ScheduledSequence
from penstock.engine.attention.protocol import AttentionStep
from penstock.engine.sampler import SamplingRow


@dataclass(frozen=True, slots=True)
class StepInputs:
    """One step on the host. Taken from the sequences before the step leaves the event loop, which may change them."""

    query_lengths: tuple[int, ...]
    context_lengths: tuple[int, ...]
    num_decodes: int
    wide: npt.NDArray[np.int64]  # [3, num_tokens]: token ids, positions, slots
    narrow: npt.NDArray[np.int32]  # query_starts, contexts, block_tables, one after the other
    sampled_tokens: npt.NDArray[np.int64]  # place of each sampled item's last token among all tokens
    sampled_items: tuple[int, ...]  # their places in the batch
    rows: tuple[SamplingRow, ...]

    @property
    def num_tokens(self) -> int:
        return sum(self.query_lengths)


def build_inputs(batch: Batch, block_size: int, eos_token_ids: Sequence[int]) -> StepInputs:
    """Put decodes first, flatten all tokens."""
    order = sorted(range(len(batch.items)), key=lambda i: batch.items[i].num_tokens > 1)
    items = [batch.items[i] for i in order]
    query_lengths = tuple(item.num_tokens for item in items)
    context_lengths = tuple(item.end for item in items)
    contexts, lengths = np.array(context_lengths), np.array(query_lengths)
    ends = np.cumsum(lengths)
    tables = _block_tables(items, contexts, block_size)
    sequence = np.repeat(np.arange(len(items)), lengths)
    wide = np.empty((3, int(ends[-1])), np.int64)
    wide[0] = _token_ids(items)
    positions = wide[1] = np.arange(wide.shape[1]) + np.repeat(contexts - ends, lengths)
    wide[2] = tables[sequence, positions // block_size].astype(np.int64) * block_size + positions % block_size
    is_sampled = [item.is_sampled for item in items]
    return StepInputs(
        query_lengths=query_lengths,
        context_lengths=context_lengths,
        num_decodes=int((lengths == 1).sum()),
        wide=wide,
        narrow=np.concatenate((np.zeros(1), ends, contexts, tables.ravel()), dtype=np.int32, casting="unsafe"),
        sampled_tokens=ends[is_sampled] - 1,
        sampled_items=tuple(i for i, sampled in zip(order, is_sampled, strict=True) if sampled),
        rows=tuple(_sampling_row(item, eos_token_ids) for item in items if item.is_sampled),
    )


def to_device(inputs: StepInputs, device: torch.device) -> tuple[Tensor, Tensor, AttentionStep]:
    """Token ids, places of the sampled tokens, and what attention needs."""
    num_sequences, num_tokens = len(inputs.query_lengths), inputs.wide.shape[1]
    packed = np.concatenate((inputs.wide.ravel(), inputs.sampled_tokens, _as_wide(inputs.narrow)))
    host = torch.from_numpy(packed)
    tensor = host if device.type == "cpu" else host.pin_memory().to(device, non_blocking=True)
    wide, sampled, narrow = tensor.tensor_split((3 * num_tokens, 3 * num_tokens + len(inputs.sampled_tokens)))
    token_ids, positions, slots = wide.view(3, num_tokens).unbind(0)
    starts, contexts, tables = narrow.view(torch.int32)[: len(inputs.narrow)].tensor_split(
        (num_sequences + 1, 2 * num_sequences + 1)
    )
    step = AttentionStep(
        num_decodes=inputs.num_decodes,
        query_lengths=inputs.query_lengths,
        context_lengths=inputs.context_lengths,
        query_starts=starts,
        contexts=contexts,
        block_tables=tables.view(num_sequences, -1),
        positions=positions,
        slots=slots,
    )
    return token_ids, sampled, step


def _as_wide(narrow: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.pad(narrow, (0, len(narrow) % 2)).view(np.int64)


def _block_tables(
    items: Sequence[ScheduledSequence], contexts: npt.NDArray[np.int64], block_size: int
) -> npt.NDArray[np.int32]:
    """[num_sequences, most blocks in use], padded with 0."""
    counts = -(-contexts // block_size)
    tables = np.zeros((len(items), int(counts.max())), np.int32)
    used = np.arange(tables.shape[1]) < counts[:, None]
    tables[used] = list(
        chain.from_iterable(item.sequence.block_ids[:count] for item, count in zip(items, counts.tolist(), strict=True))
    )
    return tables


def _token_ids(items: Sequence[ScheduledSequence]) -> list[int]:
    return list(chain.from_iterable(item.sequence.token_ids[item.start : item.end] for item in items))


def _sampling_row(item: ScheduledSequence, eos_token_ids: Sequence[int]) -> SamplingRow:
    sequence, request = item.sequence, item.sequence.request
    row = SamplingRow(
        request.sampling, sequence.num_output_tokens, request.prompt_token_ids, eos_token_ids=eos_token_ids
    )
    if not row.has_penalties:
        return row  # nothing else looks at the output so far, and copying it costs a step
    output = tuple(sequence.token_ids[len(request.prompt_token_ids) :])
    return SamplingRow(row.params, row.position, row.prompt_token_ids, output, eos_token_ids)
