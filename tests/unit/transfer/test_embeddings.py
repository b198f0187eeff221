"""Embeddings in their pool."""

import numpy as np
import pytest

from penstock.core.embeddings import PAGE_TOKENS
from penstock.transfer.embeddings import (
    allocate_embeddings,
    halves_of,
    pool_rows,
    read_embeddings,
    write_embeddings,
)

HIDDEN_SIZE, ELEMENT_BYTES, NUM_PAGES = 6, 4, 5


@pytest.mark.parametrize("num_tokens", [1, PAGE_TOKENS, PAGE_TOKENS + 3])
def test_embeddings_are_read_as_they_were_written_and_others_are_left_alone(num_tokens: int) -> None:
    memory = allocate_embeddings(NUM_PAGES * PAGE_TOKENS + 3, HIDDEN_SIZE, ELEMENT_BYTES, "float32")
    assert memory.layout.num_blocks == NUM_PAGES
    memory.pool[:] = 0xAA
    rows = np.random.RandomState(0).randint(0, 100, (num_tokens, HIDDEN_SIZE * ELEMENT_BYTES), np.uint8)
    block_ids = [4, 1]
    write_embeddings(memory, block_ids, rows)
    np.testing.assert_array_equal(read_embeddings(memory, block_ids, num_tokens), rows)
    assert np.count_nonzero(memory.pool != 0xAA) == rows.size
    memory.close()


def test_the_first_half_lies_where_k_would_and_the_second_where_v_would() -> None:
    memory = allocate_embeddings(NUM_PAGES * PAGE_TOKENS, HIDDEN_SIZE, ELEMENT_BYTES, "float32")
    rows = np.arange(2 * HIDDEN_SIZE * ELEMENT_BYTES, dtype=np.uint8).reshape(2, -1)
    write_embeddings(memory, [3], rows)
    halves = halves_of(memory)
    layout = memory.layout
    of_v = layout.num_bytes // 2 + 3 * layout.block_bytes
    assert halves[0, 3 * PAGE_TOKENS].tolist() == list(range(12))
    assert memory.pool[of_v : of_v + 12].tolist() == list(range(12, 24))
    del halves
    memory.close()


def test_rows_follow_the_pages() -> None:
    assert pool_rows([9, 4, 6], 14, 18).tolist() == [9 * 16 + 14, 9 * 16 + 15, 4 * 16, 4 * 16 + 1]
