"""The clusters that tests begin with."""

import pytest

from penstock.core.types import (
    Role,
)
from penstock.gateway.limits import DispatchLimits
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(DispatchLimits())


@pytest.fixture
def pair(cluster: FakeCluster) -> FakeCluster:
    """One prefill worker, one decode worker."""
    cluster.add("prefill-0")
    cluster.add("decode-0", Role.DECODE)
    return cluster


@pytest.fixture
def four(cluster: FakeCluster) -> FakeCluster:
    """Two prefill workers, two decode workers."""
    for index in range(2):
        cluster.add(f"prefill-{index}")
        cluster.add(f"decode-{index}", Role.DECODE)
    return cluster
