"""What a language worker is for, and in which group; and the orders that change it.

role     changes at once: weights, KV and peers stay as they are, and the router is told
group    changes once the worker is empty: what it holds finishes or is handed back, and it takes nothing meanwhile
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from penstock.core.errors import ChangeRefused, Draining, IncarnationMismatch
from penstock.core.sequences import SequenceBook
from penstock.core.types import Role, WorkerRef
from penstock.wire.control_messages import FlipRequest, FlipResponse

log = logging.getLogger(__name__)


class Assignment:
    """`announce` tells the router. `move_when_told` is a task of the process."""

    def __init__(
        self, ref: WorkerRef, role: Role, group: str, book: SequenceBook, announce: Callable[[], None]
    ) -> None:
        self.role = role
        self.group = group
        self._ref = ref
        self._book = book
        self._announce = announce
        self._move: tuple[FlipRequest, FlipResponse] | None = None  # the order, until it is done
        self._has_to_move = asyncio.Event()

    def flip(self, request: FlipRequest) -> FlipResponse:
        """Have another role from now on, and be in another group as soon as may be; raises the refusal."""
        worker_id = self._ref.worker_id
        if request.incarnation != self._ref.incarnation:
            raise IncarnationMismatch(f"{worker_id} was restarted; look at its present life first.")
        if self._move is not None:
            order, answer = self._move
            if request == order:
                return answer  # the first one was lost
            raise ChangeRefused(f"{worker_id} is moving to another group.")
        if self._book.is_draining:
            raise Draining(f"{worker_id} is going away.")
        if request.role is Role.ENCODER:
            raise ChangeRefused("A language worker has no encoder to load; its roles are prefill, decode and mixed.")
        previous, self.role = self.role, request.role
        if previous is not self.role:
            log.info("%s worker is now a %s worker", previous.value, self.role.value)
            self._announce()
        answer = FlipResponse(previous, len(self._book.owners))
        if request.group not in ("", self.group):
            self._move = request, answer
            self._has_to_move.set()
        return answer

    async def move_when_told(self, leave: Callable[[], Awaitable[None]]) -> None:
        """Have `leave` take nothing new and finish or hand back what is held, then be a member of another group."""
        while True:
            await self._has_to_move.wait()
            assert self._move is not None, "an order comes before its event"
            await leave()
            group = self._move[0].group
            log.info("moved from group %s to group %s", self.group, group)
            self.group, self._move = group, None
            self._has_to_move.clear()
            self._book.is_draining = False
            self._announce()

    def forget_move(self) -> None:
        """The worker goes away instead."""
        self._move = None
