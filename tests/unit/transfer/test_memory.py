"""KV pools."""

import mmap
import os
from pathlib import Path

import pytest

from penstock.core.kv_layout import KvLayout
from penstock.transfer.memory import KvMemory, allocate_kv_memory, map_pool, page_aligned

LAYOUT = KvLayout(2, 2, 8, 4, 8, 2, "bfloat16")


def test_a_pool_is_zeroed_writable_and_of_the_layouts_size() -> None:
    memory = allocate_kv_memory(LAYOUT)
    assert len(memory.view) == LAYOUT.num_bytes
    assert not memory.pool.any()
    memory.pool[-1] = 7
    assert memory.view[LAYOUT.num_bytes - 1] == 7
    memory.close()


def test_a_second_mapping_of_the_descriptor_is_the_same_memory() -> None:
    memory = allocate_kv_memory(LAYOUT)
    assert memory.fd is not None
    other = KvMemory(LAYOUT, map_pool(memory.fd, LAYOUT.num_bytes))
    other.pool[5] = 9
    assert memory.pool[5] == 9
    memory.close()
    assert other.pool[5] == 9


def test_nothing_has_a_name_that_could_outlive_the_process() -> None:
    before = set(Path("/dev/shm").iterdir())
    memory = allocate_kv_memory(LAYOUT)
    assert set(Path("/dev/shm").iterdir()) == before
    memory.close()


def test_close_gives_the_descriptor_back_and_may_be_repeated() -> None:
    before = os.listdir("/proc/self/fd")
    memory = allocate_kv_memory(LAYOUT)
    memory.close()
    memory.close()
    assert memory.fd is None
    assert os.listdir("/proc/self/fd") == before


def test_a_buffer_too_small_for_the_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        KvMemory(LAYOUT, bytearray(LAYOUT.num_bytes - 1))


def test_scratch_memory_begins_with_a_page_and_is_as_large_as_asked() -> None:
    for num_bytes in (1, 4096, 100_000):
        scratch = page_aligned(num_bytes)
        assert scratch.nbytes == num_bytes
        assert scratch.flags.writeable
        assert scratch.ctypes.data % mmap.PAGESIZE == 0
