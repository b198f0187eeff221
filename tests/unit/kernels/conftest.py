"""The kernels under Triton's interpreter, so that a CPU runs them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def interpreted() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module whose kernels are interpreted.

    Triton decides when a kernel is defined, so the modules are imported anew; the process's own ones come back after.
    """
    own = {name: module for name, module in sys.modules.items() if _has_kernels(name)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name in own:
            del sys.modules[name]
        yield importlib.import_module
        for name in [name for name in sys.modules if _has_kernels(name)]:
            del sys.modules[name]
        sys.modules.update(own)


def _has_kernels(module: str) -> bool:
    return module.startswith("penstock_kernels.") or module == "penstock.engine.attention.triton_attention"
