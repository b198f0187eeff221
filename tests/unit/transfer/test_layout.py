"""Plans between KV pools, against an oracle that walks every element."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import TransferFailed
from penstock.core.kv_layout import KvLayout
from penstock.transfer.layout import (
    BlockTable,
    KvPart,
    Place,
    Rows,
    check_layouts,
    local_heads,
    paired_runs,
    plan_copy,
    rows_of,
    shared_heads,
    split_part,
)

HEAD_DIM, ELEMENT_BYTES, NUM_LAYERS, NUM_BLOCKS = 2, 2, 3, 12
HEAD_BYTES = HEAD_DIM * ELEMENT_BYTES


def make_layout(block_size: int, num_kv_heads: int = 12, tp_rank: int = 0, tp_size: int = 1) -> KvLayout:
    return KvLayout(
        NUM_LAYERS, num_kv_heads, HEAD_DIM, block_size, NUM_BLOCKS, ELEMENT_BYTES, "bfloat16", tp_rank, tp_size
    )


def oracle_offsets(place: Place, part: KvPart) -> list[int]:
    """Byte offset of every (layer, K|V, token, head) of the part, one at a time."""
    layout, table = place.layout, place.table
    heads = local_heads(layout)
    offsets = []
    for layer, side, token, head in itertools.product(part.layers, range(2), part.tokens, part.heads):
        position = token - table.first_token
        block = int(table.blocks[position // layout.block_size])
        slot = block * layout.block_size + position % layout.block_size
        plane = layer * 2 + side
        slots_per_plane = layout.num_blocks * layout.block_size
        offsets.append(((plane * slots_per_plane + slot) * len(heads) + head - heads.start) * HEAD_BYTES)
    return offsets


def row_offsets(rows: Rows) -> list[int]:
    heads_per_row = rows.row_bytes // HEAD_BYTES
    return [int(index) * rows.row_bytes + i * HEAD_BYTES for index in rows.index for i in range(heads_per_row)]


@st.composite
def transfers(draw: st.DrawFn) -> tuple[Place, Place, KvPart]:
    """Two pools of any block size and tensor-parallel degree whose ranks share heads, and a part both hold."""
    sizes = st.sampled_from([(1, 0), (2, 0), (2, 1), (3, 1), (4, 2), (6, 5)])
    pairs = st.tuples(sizes, sizes).filter(
        lambda pair: bool(
            shared_heads(make_layout(1, 12, pair[0][1], pair[0][0]), make_layout(1, 12, pair[1][1], pair[1][0]))
        )
    )
    (source_tp, source_rank), (destination_tp, destination_rank) = draw(pairs)
    source = make_layout(draw(st.sampled_from([1, 2, 4, 8, 3])), 12, source_rank, source_tp)
    destination = make_layout(draw(st.sampled_from([1, 2, 4, 8, 6])), 12, destination_rank, destination_tp)
    first = draw(st.integers(0, 6))
    room = min(source.block_size * NUM_BLOCKS, first + destination.block_size * NUM_BLOCKS)
    start = draw(st.integers(first, max(first, min(room - 1, first + 10))))
    stop = draw(st.integers(start + 1, max(start + 1, min(room, start + 30))))
    tables = []
    for layout, begin in ((source, 0), (destination, first)):
        num_blocks = -(-(stop - begin) // layout.block_size)
        order = draw(st.permutations(range(NUM_BLOCKS)))
        tables.append(BlockTable.of(order[:num_blocks], begin))
    layer = draw(st.integers(0, NUM_LAYERS - 1))
    layers = range(layer, draw(st.integers(layer + 1, NUM_LAYERS)))
    part = KvPart(layers, range(start, stop), shared_heads(source, destination))
    return Place(source, tables[0]), Place(destination, tables[1]), part


@given(
    transfers().filter(
        lambda t: t[0].table.holds(t[0].layout, t[2].tokens) and t[1].table.holds(t[1].layout, t[2].tokens)
    )
)
@settings(max_examples=150, deadline=None)
def test_rows_name_every_element_in_canonical_order(transfer: tuple[Place, Place, KvPart]) -> None:
    source, destination, part = transfer
    expected = [oracle_offsets(place, part) for place in (source, destination)]
    assert [row_offsets(rows) for rows in plan_copy(source, destination, part)] == expected
    assert [row_offsets(place.rows(part)) for place in (source, destination)] == expected


@given(transfers())
@settings(max_examples=80, deadline=None)
def test_runs_cover_the_same_bytes_and_cannot_be_joined(transfer: tuple[Place, Place, KvPart]) -> None:
    source, destination, part = transfer
    rows = source.rows(part)
    offsets, lengths = rows.runs()
    covered = [byte for begin, length in zip(offsets, lengths, strict=True) for byte in range(begin, begin + length)]
    assert covered == [byte for begin in rows.index * rows.row_bytes for byte in range(begin, begin + rows.row_bytes)]
    assert not (offsets[1:] == (offsets + lengths)[:-1]).any()
    first, second, paired = paired_runs(*plan_copy(source, destination, part))
    joined = (first[1:] == (first + paired)[:-1]) & (second[1:] == (second + paired)[:-1])
    assert not joined.any()
    assert paired.sum() == part.num_bytes(source.layout)


@given(transfers(), st.integers(1, 4096))
@settings(max_examples=100, deadline=None)
def test_segments_partition_a_part_within_their_bound(transfer: tuple[Place, Place, KvPart], limit: int) -> None:
    source, destination, part = transfer
    boxes = list(split_part(part, source.layout, destination.layout, limit))
    cells = [cell for box in boxes for cell in itertools.product(box.layers, box.tokens)]
    assert sorted(cells) == list(itertools.product(part.layers, part.tokens))
    for box in boxes:
        is_smallest = len(box.layers) == len(box.tokens) == 1
        assert box.num_bytes(source.layout) <= limit or is_smallest


def test_one_sequence_in_adjacent_blocks_is_one_run_per_plane() -> None:
    layout = make_layout(4)
    rows = rows_of(layout, BlockTable.of([2, 3, 4]), KvPart(range(3), range(12), range(12)))
    offsets, lengths = rows.runs()
    assert len(offsets) == NUM_LAYERS * 2
    assert set(lengths.tolist()) == {12 * 12 * HEAD_BYTES}


def test_a_large_layer_is_cut_where_blocks_end_at_both_ends() -> None:
    part = KvPart(range(1), range(5, 40), range(12))
    boxes = list(split_part(part, make_layout(4), make_layout(8), part.num_bytes(make_layout(4)) // 3))
    assert [(box.tokens.start, box.tokens.stop) for box in boxes] == [(5, 8), (8, 16), (16, 24), (24, 32), (32, 40)]


@pytest.mark.parametrize(
    ("blocks", "first", "tokens", "is_held"),
    [
        ([1, 2], 0, range(8), True),
        ([1, 2], 0, range(9), False),
        ([1, 2], 4, range(4, 12), True),
        ([1, 2], 4, range(3, 8), False),
        ([1, NUM_BLOCKS], 0, range(8), False),
        ([1, NUM_BLOCKS], 0, range(4), True),
        ([-1, 2], 0, range(8), False),
        ([], 0, range(0), True),
    ],
)
def test_a_table_holds_tokens_only_where_existing_blocks_do(
    blocks: list[int], first: int, tokens: range, is_held: bool
) -> None:
    assert BlockTable.of(blocks, first).holds(make_layout(4), tokens) is is_held


ONE = make_layout(4)


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ([replace(ONE, dtype="float32", element_bytes=4)], "dtype"),
        ([replace(ONE, num_kv_heads=6)], "num_kv_heads"),
        ([replace(ONE, head_dim=4)], "head_dim"),
        ([replace(ONE, num_layers=4)], "num_layers"),
        ([], "no KV layout"),
        ([replace(ONE, tp_size=2)], "each tensor-parallel rank once"),
        ([replace(ONE, tp_size=2), replace(ONE, tp_size=2)], "each tensor-parallel rank once"),
        ([replace(ONE, tp_size=5)], "cannot be divided"),
        ([replace(ONE, tp_rank=2, tp_size=2)], "does not exist"),
    ],
)
def test_layouts_that_do_not_fit_are_refused_with_the_reason(theirs: list[KvLayout], words: str) -> None:
    with pytest.raises(TransferFailed, match=words):
        check_layouts([ONE], theirs)


def test_other_block_sizes_degrees_and_pool_sizes_fit() -> None:
    halves = [replace(ONE, block_size=16, num_blocks=3, tp_rank=rank, tp_size=2) for rank in range(2)]
    check_layouts([ONE], halves)
    check_layouts(halves, [ONE])


def test_index_arithmetic_holds_for_pools_beyond_four_gigabytes() -> None:
    layout = KvLayout(80, 8, 128, 16, 20_000, 2, "bfloat16")
    rows = rows_of(layout, BlockTable.of([19_999]), KvPart(range(79, 80), range(16), range(8)))
    offsets, lengths = rows.runs()
    assert offsets[-1] + lengths[-1] == layout.num_bytes > 1 << 35
    assert offsets.dtype == np.int64
