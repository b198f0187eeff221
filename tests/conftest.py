"""Fixtures for every test, and which tests this machine can run."""

import os
from pathlib import Path

import pytest

_NEEDS = {
    "gpu": (Path("/dev/nvidiactl").exists(), "no CUDA device"),
    "cluster": ("KUBECONFIG" in os.environ, "no KUBECONFIG"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, (is_present, reason) in _NEEDS.items():
            if item.get_closest_marker(marker) and not is_present:
                item.add_marker(pytest.mark.skip(reason=reason))
