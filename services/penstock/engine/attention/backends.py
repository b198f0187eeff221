"""Which attention a device gets."""

from collections.abc import Callable

import torch
from torch import Tensor

from penstock.engine.attention.protocol import Attention, AttentionGeometry
from penstock.engine.attention.torch_attention import TorchAttention

try:
    from penstock.engine.attention.triton_attention import TritonAttention
except ImportError:  # Triton comes with CUDA builds of torch, and with the extra `kernels`
    TritonAttention = None  # type: ignore[assignment,misc]

MakeAttention = Callable[[AttentionGeometry, Tensor, Tensor], Attention]


def attention_for(device: torch.device) -> MakeAttention:
    """Triton on a GPU, torch elsewhere."""
    if device.type == "cuda" and TritonAttention is not None:
        return TritonAttention
    return TorchAttention
