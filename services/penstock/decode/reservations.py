"""What a decode worker has promised to prefill workers, and what has become of each promise.

granted --(commit and all KV, in either order)--> started
   |---- released by the prefill worker ---------> gone: it writes no more, blocks are free (also if just started:
   |                                                     it has given up, and hands the request to somebody else)
   |---- lease ran out, or the client cancelled -> revoked: blocks wait until the prefill worker confirms,
   '---- the link broke ------------------------>          or its transfer channel is gone
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.core.errors import StaleAttempt, TransferFailed, UnknownReservation
from penstock.core.types import Request, Sequence
from penstock.transfer.policy import Peer
from penstock.wire.messages import Reserve

REMEMBERED_CANCELS = 8192  # a cancellation may overtake the reservation it is about
REMEMBERED_STARTS = 8192  # a release may cross the news of the start

ReservationKey = tuple[Peer, int]
RequestKey = tuple[str, int]  # (gateway_id, handle)


@dataclass(slots=True, eq=False)
class Reservation:
    """One promise: the held sequence, and which of the two things it waits for are there."""

    peer: Peer
    reservation_id: int
    sequence: Sequence
    num_tokens: int  # those whose KV is awaited, and what the prefix cache had of them
    expires_s: float
    committed: Request | None = None
    has_kv: bool = False
    is_revoked: bool = False

    @property
    def key(self) -> ReservationKey:
        return self.peer, self.reservation_id

    @property
    def request_key(self) -> RequestKey:
        return self.sequence.request.gateway_id, self.sequence.request.handle

    def refuse_other(self, request: Request) -> None:
        """Raise TransferFailed for a request that this promise was not made for: its KV is not what arrives here."""
        if (request.gateway_id, request.handle) != self.request_key:
            raise TransferFailed(f"Reservation {self.reservation_id} is another request's than {request.request_id}.")
        if request.num_tokens != self.num_tokens + 1:  # the first token: drawn, and not yet computed
            raise TransferFailed(
                f"{request.request_id} has {request.num_tokens} tokens with its first one, "
                f"its reservation is for {self.num_tokens} before that."
            )


class ReservationBook:
    """All live promises, by who asked and by whose request they serve."""

    def __init__(self) -> None:
        self._by_key: dict[ReservationKey, Reservation] = {}
        self._by_request: dict[RequestKey, Reservation] = {}
        self._cancelled: OrderedDict[RequestKey, None] = OrderedDict()
        self._started: OrderedDict[ReservationKey, RequestKey] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(list(self._by_key.values()))

    def refuse_cancelled(self, reserve: Reserve) -> None:
        """Raise StaleAttempt for an attempt whose cancellation came first."""
        if (reserve.gateway_id, reserve.handle) in self._cancelled:
            raise StaleAttempt(f"Attempt {reserve.attempt} of {reserve.request_id} was cancelled.")

    def add(self, reservation: Reservation) -> None:
        self._by_key[reservation.key] = reservation
        self._by_request[reservation.request_key] = reservation

    def remove(self, reservation: Reservation) -> None:
        del self._by_key[reservation.key]
        if self._by_request.get(reservation.request_key) is reservation:
            del self._by_request[reservation.request_key]

    def find(self, peer: Peer, reservation_id: int) -> Reservation | None:
        return self._by_key.get((peer, reservation_id))

    def get(self, peer: Peer, reservation_id: int) -> Reservation:
        """A promise that still holds; raises UnknownReservation when there is none."""
        reservation = self.find(peer, reservation_id)
        if reservation is None or reservation.is_revoked:
            raise UnknownReservation(f"Reservation {reservation_id} was withdrawn or never granted.")
        return reservation

    def find_request(self, key: RequestKey) -> Reservation | None:
        return self._by_request.get(key)

    def of_peer(self, peer: Peer) -> list[Reservation]:
        return [reservation for reservation in self if reservation.peer == peer]

    def of_gateway(self, gateway_id: str) -> list[Reservation]:
        return [reservation for reservation in self if reservation.request_key[0] == gateway_id]

    def remember_cancelled(self, key: RequestKey) -> None:
        self._cancelled[key] = None
        if len(self._cancelled) > REMEMBERED_CANCELS:
            self._cancelled.popitem(last=False)

    def remember_started(self, reservation: Reservation) -> None:
        self._started[reservation.key] = reservation.request_key
        if len(self._started) > REMEMBERED_STARTS:
            self._started.popitem(last=False)

    def started_as(self, peer: Peer, reservation_id: int) -> RequestKey | None:
        """The request that began to decode on this reservation."""
        return self._started.pop((peer, reservation_id), None)

    def next_expiry_s(self) -> float | None:
        return min((r.expires_s for r in self._by_key.values() if not r.is_revoked), default=None)

    @property
    def num_quarantined_blocks(self) -> int:
        """Those that a peer may still write to, so without the prefix that was cached and that others may share."""
        return sum(len(r.sequence.block_ids) - r.sequence.num_hashed_blocks for r in self if r.is_revoked)
