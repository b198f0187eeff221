"""The KV pool of one worker as a tensor: transfers see bytes, attention sees heads."""

import torch
from torch import Tensor

from penstock.core.errors import InternalError
from penstock.core.kv_layout import KvLayout
from penstock.engine.models.config import ModelConfig
from penstock.transfer.memory import KvMemory

_MAPPED = 2  # cudaHostRegisterMapped


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


class KvCache:
    """A tensor on the pool itself: what a transfer writes is read by the next step, without a copy.

    [num_layers, K and V, num_blocks, block_size, num_local_heads, head_dim]

    A GPU reads and writes the pool where it is, in host memory, over the bus: right for every transport, and slower
    than device memory for long contexts.
    """

    def __init__(self, memory: KvMemory, device: torch.device) -> None:
        layout = memory.layout
        self._registered: int | None = None
        is_cuda = device.type == "cuda"
        flat = self._map(memory, device) if is_cuda else torch.frombuffer(memory.view, dtype=torch.uint8)
        self.tensor = flat.view(getattr(torch, layout.dtype)).view(
            layout.num_layers, 2, layout.num_blocks, layout.block_size, layout.num_local_heads, layout.head_dim
        )

    def close(self) -> None:
        """Let go of the pool, so that its owner can unmap it."""
        del self.tensor
        if self._registered is not None:
            torch.cuda.cudart().cudaHostUnregister(self._registered)

    def _map(self, memory: KvMemory, device: torch.device) -> Tensor:
        address, num_bytes = int(memory.pool.ctypes.data), memory.layout.num_bytes
        torch.cuda.init()
        with torch.cuda.device(device):
            error = int(torch.cuda.cudart().cudaHostRegister(address, num_bytes, _MAPPED))
        if error:
            raise InternalError(f"CUDA cannot map a KV pool of {num_bytes} bytes of host memory (error {error}).")
        self._registered = address
        return torch.as_tensor(_DeviceView(address, num_bytes), device=device)


class _DeviceView:
    """Host memory that a GPU may address, in the words of the CUDA array interface."""

    def __init__(self, address: int, num_bytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (num_bytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
            "strides": None,
        }
