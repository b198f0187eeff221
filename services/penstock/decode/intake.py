"""Taking requests over from prefill workers: reserve, receive, commit, start.

Life of a request: step 5 (reserve) and the beginning of step 8. A sequence starts when its commit is here and every
segment of its KV has arrived and checked out, in whichever order.
"""

import asyncio
import logging
from collections.abc import Callable

from penstock.core.errors import PenstockError
from penstock.core.sequences import SequenceBook
from penstock.core.types import Request, SamplingParams, Sequence
from penstock.decode.loop import Decoder, RequestKey
from penstock.decode.reservations import Reservation, ReservationBook
from penstock.runtime.outbox import Outbox
from penstock.transfer.policy import Peer
from penstock.transfer.receiver import KvReceiver
from penstock.wire.messages import Commit, LinkCalls, LinkEvents, ReservationEnded, Reserve, Reserved

LEASE_S = 10.0  # without renewal or commit; prefill workers renew three times in it

log = logging.getLogger(__name__)


class Intake:
    """The decode side of every link from a prefill worker."""

    def __init__(self, book: SequenceBook, decoder: Decoder, receiver: KvReceiver, now_s: Callable[[], float]) -> None:
        self.reservations = ReservationBook()
        self._book = book
        self._decoder = decoder
        self._receiver = receiver
        self._now_s = now_s
        self._links: dict[Peer, Outbox[LinkEvents]] = {}
        self._expiry: asyncio.TimerHandle | None = None
        decoder.on_gateway_gone = self.cancel_gateway
        receiver.on_peer_gone = self._on_transfer_gone

    # --- links ---

    def open_link(self, peer: Peer) -> Outbox[LinkEvents]:
        """A prefill worker's stream began; what an older life of it left is withdrawn."""
        for other in [other for other in self._links if other[0] == peer[0]]:
            self._links[other].close()
            self._withdraw(other)
        outbox = self._links[peer] = Outbox[LinkEvents]()
        return outbox

    def close_link(self, peer: Peer, outbox: Outbox[LinkEvents]) -> None:
        """A prefill worker's stream ended: nothing it has not committed in full will ever start."""
        if self._links.get(peer) is outbox:
            del self._links[peer]
            self._withdraw(peer)

    def on_calls(self, peer: Peer, outbox: Outbox[LinkEvents], calls: LinkCalls) -> None:
        """Do what a prefill worker asks for on the stream that `outbox` answers."""
        if self._links.get(peer) is not outbox:
            return  # an older stream, or an older life, of a worker that has come back
        for reserve in calls.reserves:
            self._on_reserve(peer, reserve)
        for commit in calls.commits:
            self._on_commit(peer, commit)
        for reservation_id in calls.renewed:
            if reservation := self.reservations.find(peer, reservation_id):
                reservation.expires_s = self._now_s() + LEASE_S
        for reservation_id in calls.released:
            self._on_release(peer, reservation_id)

    # --- cancellation ---

    def cancel(self, key: RequestKey) -> None:
        """The client does not want this request any more, whether or not we have heard of it yet."""
        self.reservations.remember_cancelled(key)
        if reservation := self.reservations.find_request(key):
            self._revoke(reservation)

    def withdraw_all(self) -> None:
        """This worker is going away: prefill workers hand over to others at once."""
        for reservation in self.reservations:
            self._revoke(reservation)

    def cancel_gateway(self, gateway_id: str) -> None:
        for reservation in self.reservations.of_gateway(gateway_id):
            self._revoke(reservation)

    # --- inside ---

    def _on_reserve(self, peer: Peer, reserve: Reserve) -> None:
        outbox = self._links[peer]
        try:
            reservation = self._grant(peer, reserve)
        except PenstockError as error:
            outbox.put(LinkEvents(refused=[ReservationEnded(reserve.reservation_id, error)]))
            self._book.when_there_is_room(outbox, lambda: self._announce_room(outbox))
            return
        sequence = reservation.sequence
        first_block = sequence.num_cached_tokens // self._book.pool.block_size
        block_ids = sequence.block_ids[first_block:]
        num_missing = reserve.num_tokens - sequence.num_cached_tokens
        reservation.has_kv = num_missing == 0
        if num_missing:
            self._receiver.expect(
                peer,
                reserve.reservation_id,
                block_ids,
                sequence.num_cached_tokens,
                num_missing,
                lambda: self._on_kv(reservation),
            )
        reserved = Reserved(reserve.reservation_id, block_ids, sequence.num_cached_tokens, LEASE_S)
        outbox.put(LinkEvents(reserved=[reserved]))

    @staticmethod
    def _announce_room(outbox: Outbox[LinkEvents]) -> None:
        outbox.put(LinkEvents(has_capacity=True))

    def _grant(self, peer: Peer, reserve: Reserve) -> Reservation:
        self.reservations.refuse_cancelled(reserve)
        self._drop_older(reserve)
        now_s = self._now_s()
        request = Request(
            request_id=reserve.request_id,
            attempt=reserve.attempt,
            gateway_id=reserve.gateway_id,
            handle=reserve.handle,
            prompt_token_ids=(),
            sampling=SamplingParams(),
        )
        sequence = Sequence(request, [], arrived_s=now_s, block_hashes=list(reserve.block_hashes))
        self._book.reserve(sequence, self._decoder, reserve.num_tokens)
        reservation = Reservation(peer, reserve.reservation_id, sequence, reserve.num_tokens, now_s + LEASE_S)
        self.reservations.add(reservation)
        self._watch_leases()
        return reservation

    def _drop_older(self, reserve: Reserve) -> None:
        """A prefill worker that lost its link asks anew: it cannot know that we have, or even decode, the request."""
        key = reserve.gateway_id, reserve.handle
        self._decoder.cancel(key)
        if older := self.reservations.find_request(key):
            self._revoke(older)

    def _on_commit(self, peer: Peer, commit: Commit) -> None:
        try:
            reservation = self.reservations.get(peer, commit.reservation_id)
            reservation.refuse_other(commit.request)
        except PenstockError as error:
            self._links[peer].put(LinkEvents(refused=[ReservationEnded(commit.reservation_id, error)]))
            return
        reservation.committed = commit.request
        reservation.expires_s = self._now_s() + LEASE_S
        self._start_if_whole(reservation)

    def _on_release(self, peer: Peer, reservation_id: int) -> None:
        if reservation := self.reservations.find(peer, reservation_id):
            self._receiver.cancel(peer, reservation_id)
            self._forget(reservation)
        elif key := self.reservations.started_as(peer, reservation_id):
            self._decoder.cancel(key)

    def _on_kv(self, reservation: Reservation) -> None:
        reservation.has_kv = True
        self._start_if_whole(reservation)

    def _start_if_whole(self, reservation: Reservation) -> None:
        if reservation.committed is None or not reservation.has_kv or reservation.is_revoked:
            return
        self.reservations.remove(reservation)
        self.reservations.remember_started(reservation)
        sequence, request = reservation.sequence, reservation.committed
        sequence.request = request
        sequence.token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self._decoder.start(sequence)
        self._book.join(sequence)
        if outbox := self._links.get(reservation.peer):
            outbox.put(LinkEvents(started=[reservation.reservation_id]))

    def _revoke(self, reservation: Reservation) -> None:
        """Withdraw a promise. Its blocks stay taken until nobody can write to them any more."""
        if reservation.is_revoked:
            return
        reservation.is_revoked = True
        self._receiver.cancel(reservation.peer, reservation.reservation_id)
        if outbox := self._links.get(reservation.peer):
            outbox.put(LinkEvents(revoked=[reservation.reservation_id]))
        elif not self._receiver.is_peer_connected(reservation.peer):
            self._forget(reservation)

    def _withdraw(self, peer: Peer) -> None:
        self._links.pop(peer, None)
        for reservation in self.reservations.of_peer(peer):
            if reservation.is_revoked and not self._receiver.is_peer_connected(peer):
                self._forget(reservation)
            else:
                self._revoke(reservation)

    def _on_transfer_gone(self, peer: Peer) -> None:
        for reservation in self.reservations.of_peer(peer):
            if reservation.is_revoked:
                self._forget(reservation)

    def _forget(self, reservation: Reservation) -> None:
        reservation.is_revoked = True  # its KV may be complete, and the news of it on the way
        self.reservations.remove(reservation)
        self._book.release(reservation.sequence)

    def _watch_leases(self) -> None:
        """Wake when the next lease ends."""
        next_s = self.reservations.next_expiry_s()
        if self._expiry is None and next_s is not None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(max(0.0, next_s - self._now_s()), self._on_expiry)

    def _on_expiry(self) -> None:
        self._expiry = None
        now_s = self._now_s()
        for reservation in self.reservations:
            if reservation.expires_s <= now_s:
                whose = {"request_id": reservation.sequence.request.request_id}
                if not reservation.is_revoked:
                    log.warning("no news of it from %s for %.0f s", reservation.peer[0], LEASE_S, extra=whose)
                self._revoke(reservation)
        self._watch_leases()
