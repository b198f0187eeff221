"""Embeddings of images on their way to the prompts that wait for them here, made in this process or by encoders.

Life of a request: step 3 (encode), as the worker that prefills sees it. An encoder's link is like a prefill worker's
to a decode worker, but for one image each:

    reserve --> promised --(every segment has arrived)--> started: the prompt goes on
                   |---- released by the encoder -------> it writes no more; another may be asked
                   |---- the prompt has left, or another
                   |     encoder brings the image ------> revoked: pages wait until the encoder confirms,
                   '---- the link broke ---------------->          or its transfer channel is gone

A promise needs no lease: its pages are held by the prompt that waits for them, for as long as it does.
"""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.embeddings import EmbeddingBook, Loan, wanted_images
from penstock.core.errors import PenstockError, TransferFailed, UnknownReservation
from penstock.core.images import ImageSpan
from penstock.core.sequences import SequenceBook
from penstock.core.types import Sequence
from penstock.runtime.outbox import Outbox
from penstock.transfer.copies import CopyLane
from penstock.transfer.embeddings import write_in_slices
from penstock.transfer.memory import Bytes, KvMemory
from penstock.transfer.policy import Peer
from penstock.transfer.receiver import KvReceiver
from penstock.wire.messages import LinkCalls, LinkEvents, ReservationEnded, Reserve, Reserved

RENEWAL_S = 3600.0  # a lease that is not looked at: news of it may be as rare as this

RequestKey = tuple[str, int]  # (gateway_id, handle)


@dataclass(slots=True, eq=False)
class Promise:
    """Pages that one encoder writes to."""

    peer: Peer
    reservation_id: int
    loan: Loan
    is_withdrawn: bool = False  # its link broke: no confirmation comes, only the end of its transfers


class ImageIntake:
    """Fills pages of the pool of embeddings; a prompt goes on as soon as its next image is whole."""

    def __init__(
        self,
        book: SequenceBook,
        memory: KvMemory,
        receiver: KvReceiver,
        find: Callable[[RequestKey], Sequence | None],
    ) -> None:
        assert book.embeddings is not None, "a model that takes images has a pool of embeddings"
        self._book = book
        self._embeddings: EmbeddingBook = book.embeddings
        self._memory = memory
        self._receiver = receiver
        self._find = find
        self._lane = CopyLane()
        self._links: dict[Peer, Outbox[LinkEvents]] = {}
        self._promises: dict[tuple[Peer, int], Promise] = {}
        receiver.on_peer_gone = self._on_transfer_gone

    @property
    def num_promises(self) -> int:
        """Images on their way here from encoders."""
        return len(self._promises)

    async def deliver(self, key: RequestKey, index: int, image: ImageSpan, rows: Bytes) -> None:
        """Take embeddings made in this process. Raises UnknownReservation when nobody waits for them any more.

        rows: [num_tokens, bytes of one embedding]
        """
        if rows.shape != (image.num_tokens, self._memory.layout.token_bytes):
            raise TransferFailed(f"An image of {image.num_tokens} tokens has embeddings of shape {rows.shape}.")
        sequence = self._waiting(key, index, image.num_tokens)
        if sequence.request.images[index] != image:
            raise UnknownReservation("Nobody waits for this image any more.")
        loan = self._embeddings.lend(sequence, index, on_recall=lambda: None)
        try:
            await self._lane.run(write_in_slices(self._memory, loan.pages, rows, lambda: not loan.is_recalled))
        finally:
            self._embeddings.give_back(loan)
        if loan.is_recalled:
            raise UnknownReservation("Nobody waits for this image any more.")
        self._book.arrived(sequence, index)

    # --- links --------------------------------------------------------------------------------------------------------

    def open_link(self, peer: Peer) -> Outbox[LinkEvents]:
        """An encoder's stream began; what an older life of it left is withdrawn."""
        for other in [other for other in self._links if other[0] == peer[0]]:
            self._links[other].close()
            self._withdraw(other)
        outbox = self._links[peer] = Outbox[LinkEvents]()
        return outbox

    def close_link(self, peer: Peer, outbox: Outbox[LinkEvents]) -> None:
        if self._links.get(peer) is outbox:
            del self._links[peer]
            self._withdraw(peer)

    def on_calls(self, peer: Peer, outbox: Outbox[LinkEvents], calls: LinkCalls) -> None:
        """Do what an encoder asks for on the stream that `outbox` answers."""
        if self._links.get(peer) is not outbox:
            return  # an older stream, or an older life, of a worker that has come back
        for reserve in calls.reserves:
            try:
                outbox.put(LinkEvents(reserved=[self._promise(peer, reserve)]))
            except PenstockError as error:
                outbox.put(LinkEvents(refused=[ReservationEnded(reserve.reservation_id, error)]))
        for reservation_id in calls.released:
            if promise := self._promises.get((peer, reservation_id)):
                self._receiver.cancel(peer, reservation_id)
                self._forget(promise)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _promise(self, peer: Peer, reserve: Reserve) -> Reserved:
        key = reserve.gateway_id, reserve.handle
        sequence = self._waiting(key, reserve.image_index, reserve.num_tokens)
        loan = self._embeddings.lend(sequence, reserve.image_index, lambda: self._revoke(promise))
        promise = Promise(peer, reserve.reservation_id, loan)
        self._promises[peer, reserve.reservation_id] = promise
        self._receiver.expect(
            peer, reserve.reservation_id, loan.pages, 0, reserve.num_tokens, lambda: self._on_whole(promise)
        )
        return Reserved(reserve.reservation_id, loan.pages, 0, RENEWAL_S)

    def _waiting(self, key: RequestKey, index: int, num_tokens: int) -> Sequence:
        """The prompt that waits for an image of so many tokens."""
        sequence = self._find(key)
        if sequence is None or index not in wanted_images(sequence):
            raise UnknownReservation("Nobody waits for this image any more.")
        if sequence.request.images[index].num_tokens != num_tokens:
            raise TransferFailed(f"Image {index} of {sequence.request.request_id} has not {num_tokens} tokens.")
        return sequence

    def _on_whole(self, promise: Promise) -> None:
        if self._promises.get((promise.peer, promise.reservation_id)) is not promise:
            return  # given up, and the news of its end on the way
        if promise.loan.is_recalled or promise.is_withdrawn:
            return
        self._forget(promise)
        self._book.arrived(promise.loan.sequence, promise.loan.index)
        if outbox := self._links.get(promise.peer):
            outbox.put(LinkEvents(started=[promise.reservation_id]))

    def _revoke(self, promise: Promise) -> None:
        """Withdraw a promise. Its pages stay taken until nobody can write to them any more."""
        self._receiver.cancel(promise.peer, promise.reservation_id)
        if not promise.is_withdrawn:
            self._links[promise.peer].put(LinkEvents(revoked=[promise.reservation_id]))

    def _withdraw(self, peer: Peer) -> None:
        """Nothing that an encoder without a link has not sent in full will be waited for."""
        self._links.pop(peer, None)
        for promise in [promise for promise in self._promises.values() if promise.peer == peer]:
            promise.is_withdrawn = True
            self._receiver.cancel(peer, promise.reservation_id)
            if not self._receiver.is_peer_connected(peer):
                self._forget(promise)

    def _on_transfer_gone(self, peer: Peer) -> None:
        for promise in [promise for promise in self._promises.values() if promise.peer == peer]:
            if promise.loan.is_recalled or promise.is_withdrawn:
                self._forget(promise)

    def _forget(self, promise: Promise) -> None:
        del self._promises[promise.peer, promise.reservation_id]
        self._embeddings.give_back(promise.loan)
