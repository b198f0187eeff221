"""/cluster/live: the system as server-sent events, once a second, for the page, `penstock top` and `status --watch`.

    event: history   {"columns": [...], "points": [[...], ...]}        once, first
    event: state     {"gateway", "groups" (as /cluster), "pulse"}      every second

What is sent is made once, however many look; nobody looking costs one sample a second. A viewer that does not read gets
only the latest state when it reads again.
"""

import asyncio
from typing import Any

import orjson

from penstock.core.errors import Overloaded
from penstock.gateway.api.caller import Caller
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.pulse import INTERVAL_S, Pulse
from penstock.gateway.api.service import Service
from penstock.gateway.api.state import cluster_view

PATH = "/cluster/live"
MAX_NUM_VIEWERS = 64


class Feed:
    """One per gateway; `run` is its task."""

    def __init__(self, pulse: Pulse) -> None:
        self.num_viewers = 0
        self._pulse = pulse
        self._beat = asyncio.Event()
        self._number = 0
        self._message: tuple[int, bytes] = (0, b"")  # of which beat

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.beat()

    def beat(self) -> None:
        """Sample, and wake whoever looks."""
        self._pulse.beat()
        self._number += 1
        beat, self._beat = self._beat, asyncio.Event()
        beat.set()

    async def live(self, service: Service, exchange: Exchange, _caller: Caller) -> None:
        """Send until the client leaves or the gateway stops."""
        if self.num_viewers >= MAX_NUM_VIEWERS:
            raise Overloaded(f"{MAX_NUM_VIEWERS} viewers look already; close one of them.", retry_after_s=5.0)
        self.num_viewers += 1
        leaving = asyncio.create_task(exchange.wait_for_disconnect())
        try:
            await exchange.write(_event("history", self._pulse.history()))
            while not leaving.done() and not service.is_stopping():
                await exchange.write(self._state(service))
                beating = asyncio.create_task(self._beat.wait())
                await asyncio.wait((leaving, beating), return_when=asyncio.FIRST_COMPLETED)
                beating.cancel()
        finally:
            self.num_viewers -= 1
            leaving.cancel()
        if not leaving.done() or service.is_stopping():
            await exchange.end_stream(b"")

    def _state(self, service: Service) -> bytes:
        number, message = self._message
        if number != self._number or not message:
            state = {**cluster_view(service), "pulse": self._pulse.state()}
            self._message = self._number, message = self._number, _event("state", state)
        return message


def _event(name: str, payload: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(payload) + b"\n\n"
