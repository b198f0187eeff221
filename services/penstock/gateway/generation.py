"""The tokens of one request, from whichever workers make them to the one who reads them.

Life of a request: the dispatcher delivers in position order, over any number of attempts; HTTP handlers take batches.

    deliver(0) deliver(1) ... deliver(k)   finish(reason) | fail(error)          (dispatcher)
    next_tokens() -> [0..i]  next_tokens() -> [i+1..k]   -> [] | raises error    (reader)
    stop() | cancel()                                                            (reader, before the end)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.core.errors import PenstockError, RequestCancelled
from penstock.core.timeline import Timeline
from penstock.core.types import FinishReason, Request, SampledToken
from penstock.wire.messages import MembershipView


class Generation:
    """One request being answered. Single reader, single event loop; nothing is repeated, dropped or reordered."""

    __slots__ = (
        "_error",
        "_on_cancel",
        "_pending",
        "_waiter",
        "finish_reason",
        "num_cached_tokens",
        "num_resumes",
        "output_token_ids",
        "request_id",
        "timeline",
    )

    def __init__(self, request_id: str, on_cancel: Callable[[], None] | None = None, arrived_s: float = 0.0) -> None:
        self.request_id = request_id
        self.finish_reason: FinishReason | None = None  # set once the last token is among those taken or to be taken
        self.num_cached_tokens = 0  # prompt tokens the first attempt found in a prefix cache
        self.num_resumes = 0  # attempts begun after a worker was lost
        self.output_token_ids: list[int] = []  # everything delivered so far; a resumed attempt continues from it
        self.timeline = Timeline(arrived_s)  # stages are entered by the dispatcher, tokens and the end by the reader
        self._pending: list[SampledToken] = []  # delivered, not yet taken
        self._waiter: asyncio.Future[None] | None = None
        self._error: PenstockError | None = None
        self._on_cancel = on_cancel

    # --- the reader ---------------------------------------------------------------------------------------------------

    async def next_tokens(self) -> list[SampledToken]:
        """Everything new since the last call, at least one token; [] once finished.

        Raises the PenstockError that ended the request, after what was delivered before it has been taken.
        Cancelling the awaiting task leaves the generation running: call `cancel` too.
        """
        if not self._pending and not self.is_ended:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        if self._pending:
            tokens, self._pending = self._pending, []
            return tokens
        if self._error is not None:
            raise self._error
        return []

    @property
    def is_done(self) -> bool:
        """Finished, and every token has been taken: the next call would return []."""
        return self.finish_reason is not None and not self._pending

    def cancel(self) -> None:
        """Stop the work on every stage at once. Idempotent, and nothing happens once the request has ended."""
        if not self.is_ended:
            self.fail(RequestCancelled("The request was cancelled."))
            self._leave()

    def stop(self) -> None:
        """As `cancel`, but the reader has all it wants: the request is answered."""
        if not self.is_ended:
            self.finish(FinishReason.STOP)
            self._leave()

    def _leave(self) -> None:
        self._pending.clear()
        if self._on_cancel is not None:
            self._on_cancel()

    # --- the dispatcher -----------------------------------------------------------------------------------------------

    @property
    def is_ended(self) -> bool:
        """Finished, failed or cancelled: nothing more will be delivered."""
        return self.finish_reason is not None or self._error is not None

    def deliver(self, position: int, token: SampledToken) -> bool:
        """Append the token at `position` of the output; False when it is not the next one (repeated or early)."""
        output = self.output_token_ids
        if position != len(output) or self._error is not None:
            return False
        output.append(token.token_id)
        self._pending.append(token)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return True

    def finish(self, reason: FinishReason) -> None:
        """The last token has been delivered."""
        if not self.is_ended:
            self.finish_reason = reason
            self._wake()

    def fail(self, error: PenstockError) -> None:
        """The request cannot be completed; what was delivered stays valid."""
        if not self.is_ended:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Dispatcher(Protocol):
    """Turns requests into generations; the HTTP side knows nothing of workers but this."""

    @property
    def num_requests(self) -> int:
        """Requests being answered, waiting ones included."""

    @property
    def num_waiting(self) -> int:
        """Requests in the one deadline-ordered queue, because every worker refused them."""

    @property
    def num_encoding(self) -> int:
        """Requests some of whose images are being encoded."""

    def generate(self, request: Request, tenant: str, files: Sequence[bytes] = ()) -> Generation:
        """Begin to answer `request`; returns at once, errors are raised by `Generation.next_tokens`.

        `files` are those of `request.images`, in order: workers are given them as often as they need them.

        `request.request_id` must be unique among the live requests of the whole system (a client's `n=2` is two
        ids); attempt, handle and gateway_id are the dispatcher's to set.
        """

    def membership(self) -> Sequence[MembershipView]:
        """The last membership heard of, one view per group; stays as it was while the control plane is away."""
