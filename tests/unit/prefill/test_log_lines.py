"""What a worker logs of a request says whose it is."""

import logging

import pytest

from penstock.core.errors import BlocksExhausted
from tests.unit.prefill.test_loop import prefill_worker, request
from tests.unit.virtual_time import in_virtual_time, pass_time


@in_virtual_time
async def test_a_failed_hand_over_names_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with prefill_worker() as worker:
        worker.decode.refusals = [BlocksExhausted("Full.")] * 1000
        worker.start(request())
        await pass_time(20.0)
    (record,) = [record for record in caplog.records if record.name == "penstock.prefill.loop"]
    assert (record.__dict__["request_id"], record.getMessage()) == (request().request_id, "not handed over: Full.")
