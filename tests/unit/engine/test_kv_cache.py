import numpy as np
import torch

from penstock.core.kv_layout import KvLayout
from penstock.engine.kv_cache import KvCache
from penstock.transfer.memory import allocate_kv_memory

LAYOUT = KvLayout(
    num_layers=2, num_kv_heads=3, head_dim=4, block_size=16, num_blocks=5, element_bytes=2, dtype="bfloat16"
)


def test_the_tensor_and_the_bytes_that_transfers_move_are_the_same_memory() -> None:
    memory = allocate_kv_memory(LAYOUT)
    cache = KvCache(memory, torch.device("cpu"))
    assert cache.tensor.shape == (2, 2, 5, 16, 3, 4) and cache.tensor.dtype == torch.bfloat16
    cache.tensor[1, 0, 2] = 1.0  # K of block 2 in layer 1
    begin = (1 * 2 * LAYOUT.num_blocks + 2) * LAYOUT.block_bytes
    ones = np.frombuffer(memory.view, np.uint16)[begin // 2 : (begin + LAYOUT.block_bytes) // 2]
    assert (ones == 0x3F80).all()
    del ones
    cache.close()
    memory.close()
