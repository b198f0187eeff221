"""A short effort, with the public traces where a developer keeps them."""

import pytest

from benchmarks.headlines.experiments import REPOSITORY
from benchmarks.headlines.row import Effort


@pytest.fixture
def short() -> Effort:
    return Effort(is_full=False, traces=REPOSITORY.parent / "shared" / "traces")


@pytest.fixture
def short_with_traces(short: Effort) -> Effort:
    """For rows that replay a trace; they are skipped where nobody has downloaded it."""
    if short.traces is None or not short.traces.is_dir():
        pytest.skip(f"no trace files in {short.traces}")
    return short
