"""The kernels under Triton's interpreter, so that a CPU runs them."""

import sys
from collections.abc import Iterator

import pytest
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction


@pytest.fixture(scope="module", autouse=True)
def interpreted() -> Iterator[None]:
    """Replace every device function, ours and those of Triton's library, by its interpreted self.

    TRITON_INTERPRET alone would not do: it is read when a kernel is defined, which other tests' imports have caused.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        modules = [
            module
            for name, module in sys.modules.items()
            if name.startswith("penstock_kernels.") or f"{name}.".startswith("triton.language.")
        ]
        for module in modules:
            for name, function in list(vars(module).items()):
                if isinstance(function, JITFunction):
                    patch.setattr(module, name, InterpretedFunction(function.fn))
        yield
