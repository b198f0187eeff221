"""Whose request a line of the log is about."""

import logging

from penstock.core.types import Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.runtime import telemetry
from penstock.runtime.telemetry import set_request_id
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.requests import make_request, read


def test_a_lost_worker_is_nobodys_line_and_a_resumed_request_its_own(pair: FakeCluster) -> None:
    lines: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((telemetry.request_of(record), record.getMessage()))

    handler = Handler()
    logging.getLogger("penstock.gateway").addHandler(handler)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        set_request_id("r-1")
        generation = dispatcher.generate(make_request(max_tokens=40))
        await generation.next_tokens()
        pair.remove(pair.workers["decode-0"])
        pair.add("decode-1", Role.DECODE)
        await read(generation)

    try:
        pair.run(scenario)
    finally:
        logging.getLogger("penstock.gateway").removeHandler(handler)
    whose = {sentence.split(":")[0]: request_id for request_id, sentence in lines}
    assert whose["worker decode-0 was lost"] == ""
    assert whose["request r0 goes on elsewhere"] == "r-1"
