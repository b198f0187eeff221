"""The one queue of the gateway: requests that every worker refused, earliest first-token deadline first.

Life of a request: step 4. Nothing queues at a worker beyond what its next steps run.
"""

import asyncio
import heapq

from penstock.core.patience import Place


class WaitingQueue:
    """Waiters are woken in order: one per piece of news, and two more by each that gets through.

    How much capacity there is, nobody tells. So trying doubles while it succeeds and stops at the first refusal: a
    burst of room is filled in a few round trips, and a single place does not bring a crowd to the worker's door.
    """

    def __init__(self, max_num_waiting: int) -> None:
        self._max_num_waiting = max_num_waiting
        self._heap: list[tuple[Place, asyncio.Future[None]]] = []
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._num_waiting

    @property
    def is_full(self) -> bool:
        """Whether newcomers should be turned away; who was in already may come back."""
        return self._num_waiting >= self._max_num_waiting

    def would_lead(self, place: Place) -> bool:
        """Whether a request at `place` has nobody before it, so that it may try at once."""
        self._drop_gone()
        return not self._heap or place < self._heap[0][0]

    async def wait(self, place: Place, timeout_s: float) -> bool:
        """Wait for a turn; False when `timeout_s` has passed."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forget_gone()
        heapq.heappush(self._heap, (place, turn))
        self._num_waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except TimeoutError:
            return False
        finally:
            self._num_waiting -= 1
        return True

    def wake(self, num_waiting: int = 1) -> None:
        """Let the first few try again."""
        while num_waiting and self._heap:
            _, turn = heapq.heappop(self._heap)
            if not turn.done():  # done: timed out or cancelled
                turn.set_result(None)
                num_waiting -= 1

    def _drop_gone(self) -> None:
        while self._heap and self._heap[0][1].done():
            heapq.heappop(self._heap)

    def _forget_gone(self) -> None:
        """Those who left from the middle stay in the heap; not for longer than it takes to double it."""
        if len(self._heap) > 2 * self._num_waiting + 64:
            self._heap = [entry for entry in self._heap if not entry[1].done()]
            heapq.heapify(self._heap)
