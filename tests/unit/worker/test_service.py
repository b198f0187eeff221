"""What an operator may ask of any worker: to drain, and what it holds."""

from typing import Any

import pytest

from penstock.core.errors import ChangeRefused
from penstock.core.types import Role
from penstock.prefill.handoff import HandoffLimits
from penstock.prefill.loop import Prefiller
from penstock.runtime.outbox import Outbox
from penstock.wire.control_messages import DrainRequest, FlipRequest, FlipResponse, HoldingsRequest
from penstock.wire.messages import PrefillStart
from penstock.worker.service import Orders, WorkerService
from tests.unit.aborting import Aborted, AbortingContext
from tests.unit.decode.decode_worker import KEY, DecodeWorker, decode_worker, request
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.prefill.fake_decode import FakeDecode
from tests.unit.prefill.test_loop import ME, FakeLinks
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

CONTEXT: Any = None


class Operated:
    """A decode worker that prefills too, and its service."""

    def __init__(self, worker: DecodeWorker) -> None:
        self.decode = FakeDecode()
        self.links = FakeLinks(self.decode)
        links: Any = self.links
        book = worker.engine.book
        self.prefiller = Prefiller(ME, book, links, worker.decoder.start, HandoffLimits(), now_s)
        self.drains: list[float] = []
        self.flips: list[FlipRequest] = []
        orders = Orders(self.drains.append, self._flip)
        self.service = WorkerService(book, self.prefiller, worker.intake, orders)

    def _flip(self, request: FlipRequest) -> FlipResponse:
        if request.role is Role.ENCODER:
            raise ChangeRefused("No.")
        self.flips.append(request)
        return FlipResponse(Role.DECODE, 3)

    async def close(self) -> None:
        await self.prefiller.close()
        for link in self.links.links.values():
            await link.close()


@in_virtual_time
async def test_a_drain_begins_with_the_operators_patience_and_says_what_is_left() -> None:
    async with decode_worker() as worker:
        one = Operated(worker)
        for reservation_id in range(2):
            worker.reserve(request(handle=reservation_id), reservation_id)
        answer = await one.service.drain(DrainRequest(2.5), CONTEXT)
        assert (answer.num_sequences, one.drains) == (2, [2.5])
        worker.call(released=[0, 1])


@in_virtual_time
async def test_a_flip_is_passed_on_and_its_refusal_is_an_answer() -> None:
    async with decode_worker() as worker:
        one = Operated(worker)
        assert await one.service.flip(FlipRequest(Role.PREFILL, 7), CONTEXT) == FlipResponse(Role.DECODE, 3)
        assert one.flips == [FlipRequest(Role.PREFILL, 7)]
        context: Any = AbortingContext()
        with pytest.raises(Aborted, match="change_refused"):
            await one.service.flip(FlipRequest(Role.ENCODER, 7), context)


@in_virtual_time
async def test_an_idle_worker_holds_nothing() -> None:
    async with decode_worker() as worker:
        holdings = await Operated(worker).service.holdings(HoldingsRequest(), CONTEXT)
        assert holdings.num_open_files > 0
        assert (holdings.num_sequences, holdings.num_referenced_blocks, holdings.num_reservations) == (0, 0, 0)
        assert (holdings.num_request_tasks, holdings.num_quarantined_blocks) == (0, 0)


@in_virtual_time
async def test_counts_what_it_holds() -> None:
    async with decode_worker() as worker:
        one = Operated(worker)
        one.decode.has_starts = False
        worker.reserve(request(40), 1)  # 3 blocks
        worker.reserve(request(20, handle=1, first=100), 2)  # 2 blocks
        worker.intake.cancel(KEY)
        one.prefiller.start(PrefillStart(request(30, handle=2, first=200), (one.decode.ref,)), Outbox())  # 2 blocks
        await pass_time(5 * STEP_S)
        holdings = await one.service.holdings(HoldingsRequest(), CONTEXT)
        assert (holdings.num_sequences, holdings.num_referenced_blocks) == (3, 7)
        assert (holdings.num_reservations, holdings.num_quarantined_blocks) == (2, 3)
        assert holdings.num_request_tasks == 1
        await one.close()
        worker.call(released=[1, 2])
        await settle()
        assert (await one.service.holdings(HoldingsRequest(), CONTEXT)).num_sequences == 0
