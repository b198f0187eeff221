import pytest
import torch

from penstock.core.types import Batch, Request, SamplingParams, ScheduledSequence, Sequence
from penstock.engine.step_tensors import build_inputs, copy_at_once, to_device

BLOCK_SIZE = 4


def scheduled(
    token_ids: list[int], start: int, num_tokens: int, block_ids: list[int], **sampling: float
) -> ScheduledSequence:
    params = SamplingParams(**sampling)  # type: ignore[arg-type]
    request = Request("r", 0, "g", 0, token_ids[:3], params)
    return ScheduledSequence(Sequence(request, token_ids, 0.0, block_ids), start, num_tokens)


def test_tokens_are_flattened_with_decodes_first_and_results_keep_the_order_of_the_batch() -> None:
    chunk = scheduled([10, 11, 12, 13, 14, 15], 1, 4, [7, 3])  # does not reach its last token
    decode = scheduled([20, 21, 22, 23, 24], 4, 1, [5, 9])
    whole = scheduled([30, 31, 32], 0, 3, [2])
    inputs = build_inputs(Batch(0, (chunk, decode, whole)), BLOCK_SIZE, (0,))
    token_ids, last_tokens, step = to_device(inputs, torch.device("cpu"))
    assert token_ids.tolist() == [24, 11, 12, 13, 14, 30, 31, 32]
    assert step.positions.tolist() == [4, 1, 2, 3, 4, 0, 1, 2]
    assert step.slots.tolist() == [9 * 4, 7 * 4 + 1, 7 * 4 + 2, 7 * 4 + 3, 3 * 4, 2 * 4, 2 * 4 + 1, 2 * 4 + 2]
    assert (step.num_decodes, step.query_lengths, step.context_lengths) == (1, (1, 4, 3), (5, 5, 3))
    assert step.query_starts.tolist() == [0, 1, 5, 8]
    assert step.contexts.tolist() == [5, 5, 3]
    assert step.block_tables.tolist() == [[5, 9], [7, 3], [2, 0]]
    assert last_tokens.tolist() == [0, 7]
    assert inputs.sampled_items == (1, 2)
    assert [row.position for row in inputs.rows] == [2, 0]


def test_a_step_without_sampled_items_has_no_rows() -> None:
    inputs = build_inputs(Batch(0, (scheduled([1, 2, 3, 4], 0, 2, [0]),)), BLOCK_SIZE, ())
    assert inputs.rows == () and to_device(inputs, torch.device("cpu"))[1].tolist() == []


def test_the_output_so_far_is_copied_only_where_penalties_look_at_it() -> None:
    plain = scheduled([1, 2, 3, 4, 5], 4, 1, [0, 1])
    penalised = scheduled([1, 2, 3, 4, 5], 4, 1, [2, 3], presence_penalty=0.5)
    rows = build_inputs(Batch(0, (plain, penalised)), BLOCK_SIZE, (0,)).rows
    assert [tuple(row.output_token_ids) for row in rows] == [(), (4, 5)]


@pytest.mark.parametrize("num_sequences", [1, 2])
def test_one_transfer_to_a_device_carries_what_a_cpu_reads_in_place(num_sequences: int) -> None:
    items = (scheduled([10, 11, 12, 13, 14, 15], 1, 5, [7, 3]), scheduled([20, 21, 22, 23, 24], 4, 1, [5, 9]))
    inputs = build_inputs(Batch(0, items[:num_sequences]), BLOCK_SIZE, (0,))
    token_ids, sampled, step = to_device(inputs, torch.device("cpu"))
    wide, *others = copy_at_once(inputs, torch.device("cpu"))
    assert wide.tolist() == [token_ids.tolist(), step.positions.tolist(), step.slots.tolist()]
    expected = (sampled, step.query_starts, step.contexts, step.block_tables)
    for copied, in_place in zip(others, expected, strict=True):
        assert copied.dtype == in_place.dtype and copied.tolist() == in_place.tolist()
