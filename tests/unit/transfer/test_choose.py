"""Which transport two workers use."""

import pytest

from penstock.core.errors import TransportUnavailable
from penstock.core.kv_layout import TransferEndpoint
from penstock.transfer.choose import RDMA_MARK, choose_transport


def offers(names: str, host: str = "a") -> list[TransferEndpoint]:
    """ "ucx+rdma tcp" as the endpoints of a worker."""
    return [
        TransferEndpoint(name.removesuffix("+rdma"), RDMA_MARK if name.endswith("+rdma") else b"", host)
        for name in names.split()
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "is_same_host", "chosen"),
    [
        ("shared_memory ucx tcp", "shared_memory ucx tcp", True, "shared_memory"),
        ("ucx shared_memory", "tcp shared_memory", True, "shared_memory"),
        ("ucx tcp", "shared_memory ucx tcp", True, "ucx"),
        ("tcp", "shared_memory ucx tcp", True, "tcp"),
        ("shared_memory ucx+rdma tcp", "shared_memory ucx+rdma tcp", False, "ucx"),
        ("shared_memory ucx+rdma tcp", "shared_memory ucx tcp", False, "tcp"),
        ("shared_memory ucx tcp", "shared_memory ucx tcp", False, "tcp"),
    ],
)
def test_the_best_transport_of_both_is_chosen(mine: str, theirs: str, is_same_host: bool, chosen: str) -> None:
    choice = choose_transport(offers(mine), offers(theirs, "b"), mine.replace("+rdma", "").split(), is_same_host)
    assert choice.endpoint.transport == chosen
    assert choice.endpoint.host_id == "b"
    assert choice.reason


@pytest.mark.parametrize(
    ("mine", "theirs", "is_same_host", "words"),
    [
        ("shared_memory ucx", "shared_memory ucx", False, "no RDMA device"),
        ("shared_memory ucx+rdma", "shared_memory ucx", False, "no RDMA device"),
        ("shared_memory", "shared_memory", False, "No transport reaches the other host"),
        ("shared_memory", "tcp", True, "No transport is allowed by both"),
        ("shared_memory", "", True, "the peer nothing"),
    ],
)
def test_a_slower_transport_is_never_taken_in_silence(mine: str, theirs: str, is_same_host: bool, words: str) -> None:
    with pytest.raises(TransportUnavailable, match=words):
        choose_transport(offers(mine), offers(theirs, "b"), mine.replace("+rdma", "").split(), is_same_host)


def test_what_the_settings_do_not_allow_does_not_count() -> None:
    everything = offers("shared_memory ucx tcp")
    assert choose_transport(everything, everything, ("tcp",), True).endpoint.transport == "tcp"
