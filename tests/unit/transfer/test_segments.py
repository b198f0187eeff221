"""Frames of the transfer protocol."""

from collections.abc import Callable

import pytest

from penstock.core.errors import ChecksumMismatch, IncarnationMismatch, TransferFailed, UnknownReservation
from penstock.transfer.layout import KvPart
from penstock.transfer.segments import (
    PREFIX,
    VERSION,
    Ack,
    Hello,
    Kind,
    SegmentHeader,
    Status,
    Welcome,
    error_for,
    parse_prefix,
    worker_key,
)

HEADER = SegmentHeader(
    reservation_id=2**63 + 1,
    sequence=2**40,
    sender_key=worker_key("prefill-0"),
    sender_incarnation=2**63 - 1,
    receiver_incarnation=5,
    part=KvPart(range(3, 7), range(100, 131_072), range(2, 4)),
    tp_rank=1,
    num_bytes=16 << 20,
    checksum=2**64 - 1,
)
FRAMES = [
    (Kind.HELLO, Hello(("prefill-0", 3), ("décode-1", 2**63 - 1))),
    (Kind.WELCOME, Welcome(Status.OK, 77, b"address")),
    (Kind.SEGMENT, HEADER),
    (Kind.ACK, Ack(2**63, 12, Status.CHECKSUM)),
]


@pytest.mark.parametrize(("kind", "message"), FRAMES, ids=[kind.name for kind, _ in FRAMES])
def test_a_frame_reads_back_as_it_was_written(kind: Kind, message: Hello | Welcome | SegmentHeader | Ack) -> None:
    encoded = message.encode()
    assert parse_prefix(encoded[: PREFIX.size]) == (kind, len(encoded) - PREFIX.size)
    assert type(message).decode(encoded[PREFIX.size :]) == message


def test_a_header_asks_for_leave_under_another_kind() -> None:
    assert parse_prefix(HEADER.encode(Kind.OPEN)[: PREFIX.size])[0] is Kind.OPEN


@pytest.mark.parametrize("prefix", [PREFIX.pack(99, VERSION, 0), PREFIX.pack(Kind.ACK, VERSION + 1, 0)])
def test_another_protocol_is_refused(prefix: bytes) -> None:
    with pytest.raises(TransferFailed, match="another transfer protocol"):
        parse_prefix(prefix)


@pytest.mark.parametrize("decode", [Hello.decode, Welcome.decode, SegmentHeader.decode, Ack.decode])
@pytest.mark.parametrize("body", [b"", b"\xff" * 3])
def test_a_malformed_body_is_refused(decode: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(TransferFailed, match="malformed"):
        decode(body)


def test_a_greeting_whose_names_are_cut_short_is_refused() -> None:
    body = Hello(("prefill-0", 3), ("decode-0", 4)).encode()[PREFIX.size : -1]
    with pytest.raises(TransferFailed, match="malformed"):
        Hello.decode(body)


def test_a_status_of_a_later_version_reads_as_malformed() -> None:
    body = Ack(1, 2, Status.OK).encode()[PREFIX.size : -1] + b"\xee"
    assert Ack.decode(body).status is Status.MALFORMED


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.CHECKSUM, ChecksumMismatch),
        (Status.UNKNOWN_RESERVATION, UnknownReservation),
        (Status.INCARNATION, IncarnationMismatch),
        (Status.OUT_OF_RANGE, TransferFailed),
        (Status.MALFORMED, TransferFailed),
    ],
)
def test_each_refusal_is_an_error_that_names_the_worker(status: Status, error: type[Exception]) -> None:
    refusal = error_for(status, "decode-3")
    assert type(refusal) is error
    assert "decode-3" in str(refusal)
