"""The KV pool of one worker as a tensor: transfers see bytes, attention sees heads."""

import torch
from torch import Tensor

from penstock.core.kv_layout import KvLayout
from penstock.engine.models.config import ModelConfig
from penstock.transfer.memory import KvMemory


def kv_layout(config: ModelConfig, dtype: torch.dtype, num_blocks: int, block_size: int) -> KvLayout:
    """The layout of a model's pool on one rank."""
    return KvLayout(
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        block_size=block_size,
        num_blocks=num_blocks,
        element_bytes=dtype.itemsize,
        dtype=str(dtype).removeprefix("torch."),
    )


def kv_shape(layout: KvLayout) -> tuple[int, ...]:
    """[num_layers, K and V, num_blocks, block_size, num_local_heads, head_dim]."""
    return (layout.num_layers, 2, layout.num_blocks, layout.block_size, layout.num_local_heads, layout.head_dim)


def kv_tensor(memory: KvMemory) -> Tensor:
    """A view of host memory; no copy."""
    flat: Tensor = torch.frombuffer(memory.view, dtype=getattr(torch, memory.layout.dtype))
    return flat.view(kv_shape(memory.layout))
