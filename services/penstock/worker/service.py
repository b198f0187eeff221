"""The Worker service: what an operator may ask of any worker."""

from collections.abc import Callable
from typing import Any

import grpc
import psutil

from penstock.core.sequences import SequenceBook
from penstock.decode.intake import Intake
from penstock.prefill.loop import Prefiller
from penstock.wire.messages import DrainRequest, DrainResponse, Holdings, HoldingsRequest


class WorkerService:
    """Drain and count."""

    def __init__(
        self, book: SequenceBook, prefiller: Prefiller, intake: Intake, begin_drain: Callable[[float], None]
    ) -> None:
        self._book = book
        self._prefiller = prefiller
        self._intake = intake
        self._begin_drain = begin_drain

    async def drain(self, request: DrainRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> DrainResponse:
        """Take nothing new from now on; the process ends when its sequences have, or after the timeout."""
        self._begin_drain(request.timeout_s)
        return DrainResponse(num_sequences=len(self._book.owners))

    async def holdings(self, _request: HoldingsRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> Holdings:
        """What is held at this moment; a leak shows as a number that does not return to zero."""
        return Holdings(
            num_sequences=len(self._book.owners),
            num_referenced_blocks=self._book.pool.num_referenced,
            num_reservations=len(self._intake.reservations),
            num_request_tasks=self._prefiller.num_tasks,
            num_open_files=psutil.Process().num_fds(),
            num_quarantined_blocks=self._intake.reservations.num_quarantined_blocks,
        )
