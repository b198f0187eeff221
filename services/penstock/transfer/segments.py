"""Framing of the transfer protocol: what the two ends of a channel say to each other, as fixed structs.

    sender                                   receiver
    Hello            --------------------->              who calls, which life of the callee is meant
                     <---------------------  Welcome     accepted or not, plus what the transport needs
    SegmentHeader    --------------------->              one box of KV; its payload travels as the transport does,
                                                         or, as INLINE, right behind the header
                     <---------------------  Ack         verified in the destination, or why not; returns a credit

Byte order is little-endian. A frame is a 4-byte prefix (kind, version, body length) and a body.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

from penstock.core.errors import (
    ChecksumMismatch,
    IncarnationMismatch,
    PenstockError,
    TransferFailed,
    UnknownReservation,
)
from penstock.transfer.layout import KvPart
from penstock.transfer.policy import Peer

VERSION = 1
PREFIX = struct.Struct("<BBH")
MAX_SEGMENT_BYTES = 16 << 20
INLINE_BYTES = 128 << 10  # up to here a payload goes with its header: a second message would cost more than the copy


class Kind(IntEnum):
    HELLO = 1
    WELCOME = 2
    SEGMENT = 3
    OPEN = 4  # shared memory only: may I write for this reservation? Answered by an Ack
    ACK = 5
    INLINE = 6  # a segment whose payload follows on the same socket


class Status(IntEnum):
    """A receiver's answer to a segment."""

    OK = 0
    CHECKSUM = 1
    UNKNOWN_RESERVATION = 2
    INCARNATION = 3
    OUT_OF_RANGE = 4
    MALFORMED = 5
    ARRIVED = 6  # to OPEN: the reservation is whole already, there is nothing to write


_SENTENCES: dict[Status, tuple[type[PenstockError], str]] = {
    Status.CHECKSUM: (ChecksumMismatch, "A KV segment to worker {} arrived corrupt however often it was sent."),
    Status.UNKNOWN_RESERVATION: (UnknownReservation, "Worker {} holds no such reservation (any more)."),
    Status.INCARNATION: (IncarnationMismatch, "Worker {} has restarted since; connect to its new incarnation."),
    Status.OUT_OF_RANGE: (
        TransferFailed,
        "Worker {} refused a KV segment: outside of its reservation, or a part of it is there already.",
    ),
    Status.MALFORMED: (TransferFailed, "Worker {} did not understand this worker's transfer protocol."),
}


def error_for(status: Status, worker_id: str) -> PenstockError:
    """What a status other than OK means to the sender."""
    error, sentence = _SENTENCES[status]
    return error(sentence.format(worker_id))


def _status(value: int) -> Status:
    return Status(value) if value in Status.__members__.values() else Status.MALFORMED


def worker_key(worker_id: str) -> int:
    """A worker id as a fixed-size field."""
    return int.from_bytes(blake2b(worker_id.encode(), digest_size=8).digest(), "little")


def frame(kind: Kind, body: bytes) -> bytes:
    return PREFIX.pack(kind, VERSION, len(body)) + body


def parse_prefix(prefix: bytes) -> tuple[Kind, int]:
    """(kind, body length); TransferFailed when this is not our protocol."""
    kind, version, length = PREFIX.unpack(prefix)
    if version != VERSION or kind not in Kind.__members__.values():
        raise TransferFailed(f"The peer speaks another transfer protocol (kind {kind}, version {version}).")
    return Kind(kind), length


_HELLO = struct.Struct("<QQHH")


@dataclass(frozen=True, slots=True)
class Hello:
    sender: Peer
    receiver: Peer

    def encode(self) -> bytes:
        sender, receiver = self.sender[0].encode(), self.receiver[0].encode()
        fixed = _HELLO.pack(self.sender[1], self.receiver[1], len(sender), len(receiver))
        return frame(Kind.HELLO, fixed + sender + receiver)

    @classmethod
    def decode(cls, body: bytes) -> "Hello":
        if len(body) < _HELLO.size:
            raise TransferFailed("The peer's greeting is malformed.")
        sender_incarnation, receiver_incarnation, num_sender, num_receiver = _HELLO.unpack_from(body)
        names = body[_HELLO.size :]
        if len(names) != num_sender + num_receiver:
            raise TransferFailed("The peer's greeting is malformed.")
        sender = names[:num_sender].decode(errors="replace")
        receiver = names[num_sender:].decode(errors="replace")
        return cls((sender, sender_incarnation), (receiver, receiver_incarnation))


_WELCOME = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class Welcome:
    """`connection_id` and `details` are for the transport: UCX tags carry the one, the other is its worker address."""

    status: Status
    connection_id: int = 0
    details: bytes = b""

    def encode(self) -> bytes:
        return frame(Kind.WELCOME, _WELCOME.pack(self.status, self.connection_id) + self.details)

    @classmethod
    def decode(cls, body: bytes) -> "Welcome":
        if len(body) < _WELCOME.size:
            raise TransferFailed("The peer's answer to the greeting is malformed.")
        status, connection_id = _WELCOME.unpack_from(body)
        return cls(_status(status), connection_id, body[_WELCOME.size :])


_HEADER = struct.Struct("<QQQQQIIIIHHHQQ")


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a payload is, for whom and from whom. `checksum` is xxh3_64 over the payload in canonical order."""

    reservation_id: int
    sequence: int  # of the segment on its channel; a re-sent segment keeps it
    sender_key: int  # worker_key of the sender
    sender_incarnation: int
    receiver_incarnation: int
    part: KvPart
    tp_rank: int  # of the sender
    num_bytes: int
    checksum: int

    def encode(self, kind: Kind = Kind.SEGMENT) -> bytes:
        part = self.part
        body = _HEADER.pack(
            self.reservation_id,
            self.sequence,
            self.sender_key,
            self.sender_incarnation,
            self.receiver_incarnation,
            part.layers.start,
            part.layers.stop,
            part.tokens.start,
            part.tokens.stop,
            part.heads.start,
            part.heads.stop,
            self.tp_rank,
            self.num_bytes,
            self.checksum,
        )
        return frame(kind, body)

    @classmethod
    def decode(cls, body: bytes) -> "SegmentHeader":
        if len(body) != _HEADER.size:
            raise TransferFailed("The peer's segment header is malformed.")
        fields = _HEADER.unpack(body)
        reservation_id, sequence, key, sender, receiver = fields[:5]
        layer, layer_end, token, token_end, head, head_end = fields[5:11]
        part = KvPart(range(layer, layer_end), range(token, token_end), range(head, head_end))
        tp_rank, num_bytes, checksum = fields[11:]
        return cls(reservation_id, sequence, key, sender, receiver, part, tp_rank, num_bytes, checksum)


_ACK = struct.Struct("<QQB")


@dataclass(frozen=True, slots=True)
class Ack:
    reservation_id: int
    sequence: int
    status: Status

    def encode(self) -> bytes:
        return frame(Kind.ACK, _ACK.pack(self.reservation_id, self.sequence, self.status))

    @classmethod
    def decode(cls, body: bytes) -> "Ack":
        if len(body) != _ACK.size:
            raise TransferFailed("The peer's ack is malformed.")
        reservation_id, sequence, status = _ACK.unpack(body)
        return cls(reservation_id, sequence, _status(status))
