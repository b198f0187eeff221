import pytest
import torch

from penstock_kernels import reference
from penstock_kernels.rope_write import rotate_and_write


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "block_size", "dtype"),
    [
        (4, 2, 16, 16, torch.float32),
        (9, 3, 64, 32, torch.float32),
        (2, 2, 80, 16, torch.float16),
        (5, 1, 128, 16, torch.float16),
    ],
)
def test_rotates_and_writes_as_the_reference_does(
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    block_size: int,
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(7)
    num_tokens, num_blocks = 5, 4
    qkv = torch.randn(num_tokens, num_heads + 2 * num_kv_heads, head_dim, generator=generator).to(dtype)
    rope = torch.randn(50, head_dim, generator=generator)
    positions = torch.tensor([49, 0, 7, 7, 3])
    slots = torch.tensor([0, num_blocks * block_size - 1, block_size, block_size - 1, 5])
    kv = torch.randn(2, num_blocks, block_size, num_kv_heads, head_dim, generator=generator).to(dtype)
    expected_kv = kv.clone()
    expected = reference.rotate_and_write(qkv, rope, positions, slots, expected_kv)
    torch.testing.assert_close(rotate_and_write(qkv, rope, positions, slots, kv), expected)
    torch.testing.assert_close(kv, expected_kv)
