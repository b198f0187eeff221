"""The Worker service: what an operator may ask of any worker."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import psutil

from penstock.core.errors import PenstockError
from penstock.core.sequences import SequenceBook
from penstock.decode.intake import Intake
from penstock.prefill.loop import Prefiller
from penstock.runtime import rpc
from penstock.wire.control_messages import (
    DrainRequest,
    DrainResponse,
    FlipRequest,
    FlipResponse,
    Holdings,
    HoldingsRequest,
)
from penstock.worker.vision import Vision


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process does when an operator says so."""

    begin_drain: Callable[[float], None]
    flip: Callable[[FlipRequest], FlipResponse]  # raises the refusal


class WorkerService:
    """Drain, flip and count."""

    def __init__(
        self,
        book: SequenceBook,
        prefiller: Prefiller,
        intake: Intake,
        orders: Orders,
        vision: Vision | None = None,
    ) -> None:
        self._book = book
        self._prefiller = prefiller
        self._intake = intake
        self._orders = orders
        self._vision = vision

    async def drain(self, request: DrainRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> DrainResponse:
        """Take nothing new from now on; the process ends when its sequences have, or after the timeout."""
        self._orders.begin_drain(request.timeout_s)
        return DrainResponse(num_sequences=len(self._book.owners))

    async def flip(self, request: FlipRequest, context: "grpc.aio.ServicerContext[Any, Any]") -> FlipResponse:
        """Have another role from now on, and be in another group once what is held has ended or was handed back."""
        try:
            return self._orders.flip(request)
        except PenstockError as error:
            await rpc.abort(context, error)

    async def holdings(self, _request: HoldingsRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> Holdings:
        """What is held at this moment; a leak shows as a number that does not return to zero."""
        return Holdings(
            num_sequences=len(self._book.owners),
            num_referenced_blocks=self._book.pool.num_referenced,
            num_reservations=len(self._intake.reservations),
            num_request_tasks=self._prefiller.num_tasks,
            num_open_files=psutil.Process().num_fds(),
            num_quarantined_blocks=self._intake.reservations.num_quarantined_blocks,
            num_embedding_pages=self._book.embeddings.pool.num_referenced if self._book.embeddings else 0,
            num_images=self._vision.num_images if self._vision else 0,
        )
