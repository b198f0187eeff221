import pytest
import torch
from torch.nn import functional

from penstock.engine.models.norm import RmsNorm


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("magnitude", [1e-4, 1.0, 1e3])
def test_agrees_with_torch_whatever_the_magnitude(dtype: torch.dtype, tolerance: float, magnitude: float) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(5, 16) * magnitude).to(dtype), torch.rand(16).to(dtype)
    expected = functional.rms_norm(x, (16,), weight, 1e-6)
    norm = RmsNorm(weight, 1e-6)
    torch.testing.assert_close(norm(x), expected, atol=tolerance, rtol=tolerance)
    norm.into(x, x)
    torch.testing.assert_close(x, expected, atol=tolerance, rtol=tolerance)
