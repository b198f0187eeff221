"""The book of promises: how they are found, and what is remembered of cancellations."""

import pytest

from penstock.core.errors import StaleAttempt
from penstock.core.types import Sequence
from penstock.decode import reservations
from penstock.decode.reservations import Reservation, ReservationBook
from tests.unit.decode.decode_worker import PEER, request, reserve_for


def make(reservation_id: int, handle: int = 0, expires_s: float = 10.0) -> Reservation:
    sequence = Sequence(request(handle=handle), [], 0.0, block_ids=[1, 2])
    return Reservation(PEER, reservation_id, sequence, 40, expires_s)


def test_is_found_by_peer_request_and_gateway() -> None:
    book = ReservationBook()
    first, second = make(1), make(2, handle=1)
    book.add(first)
    book.add(second)
    assert book.find(PEER, 2) is second
    assert book.find(("prefill-0", 12), 2) is None
    assert book.find_request(("gateway", 0)) is first
    assert book.of_peer(PEER) == book.of_gateway("gateway") == [first, second]
    book.remove(first)
    assert book.find_request(("gateway", 0)) is None
    assert list(book) == [second]


def test_removing_an_older_promise_leaves_the_newer_one_to_be_found() -> None:
    book = ReservationBook()
    older, newer = make(1), make(2)
    book.add(older)
    book.add(newer)
    book.remove(older)
    assert book.find_request(("gateway", 0)) is newer


def test_only_live_promises_expire_and_only_revoked_ones_are_in_quarantine() -> None:
    book = ReservationBook()
    assert book.next_expiry_s() is None
    first, second = make(1, expires_s=5.0), make(2, handle=1, expires_s=7.0)
    book.add(first)
    book.add(second)
    assert (book.next_expiry_s(), book.num_quarantined_blocks) == (5.0, 0)
    first.is_revoked = True
    assert (book.next_expiry_s(), book.num_quarantined_blocks) == (7.0, 2)


def test_a_cached_prefix_that_others_may_share_is_not_in_quarantine() -> None:
    book = ReservationBook()
    for handle in range(2):
        reservation = make(handle, handle)
        reservation.sequence.num_hashed_blocks = 1
        reservation.is_revoked = True
        book.add(reservation)
    assert book.num_quarantined_blocks == 2


def test_remembers_the_latest_cancellations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "REMEMBERED_CANCELS", 2)
    book = ReservationBook()
    for handle in range(3):
        book.remember_cancelled(("gateway", handle))
    book.refuse_cancelled(reserve_for(request(handle=0)))  # forgotten: two came after it
    for handle in (1, 2):
        with pytest.raises(StaleAttempt):
            book.refuse_cancelled(reserve_for(request(handle=handle)))


def test_remembers_the_latest_starts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "REMEMBERED_STARTS", 2)
    book = ReservationBook()
    for reservation_id in range(3):
        book.remember_started(make(reservation_id, handle=reservation_id))
    assert [book.started_as(PEER, n) for n in (0, 1, 1, 2)] == [None, ("gateway", 1), None, ("gateway", 2)]
