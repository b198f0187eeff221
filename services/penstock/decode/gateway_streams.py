"""The streams that carry tokens to gateways: one per gateway, one message per step."""

import asyncio
from collections.abc import Callable

from penstock.runtime.outbox import Outbox
from penstock.wire.messages import StepOutputs

PATIENCE_S = 5.0  # tokens may be ready before their gateway has opened its stream


class GatewayStreams:
    """Outboxes by gateway. Tokens for a gateway that has no stream yet are kept for a moment."""

    def __init__(self, on_gateway_gone: Callable[[str], None]) -> None:
        self._outboxes: dict[str, Outbox[StepOutputs]] = {}
        self._awaited: dict[str, asyncio.TimerHandle] = {}
        self._on_gateway_gone = on_gateway_gone

    def open(self, gateway_id: str) -> Outbox[StepOutputs]:
        """The outbox to read for a gateway's new stream; an older stream of the same gateway ends."""
        if timer := self._awaited.pop(gateway_id, None):
            timer.cancel()
            return self._outboxes[gateway_id]
        if old := self._outboxes.get(gateway_id):
            old.close()
        outbox = self._outboxes[gateway_id] = Outbox[StepOutputs]()
        return outbox

    def close(self, gateway_id: str, outbox: Outbox[StepOutputs]) -> None:
        """A stream ended; unless it was replaced by a newer one, its gateway is gone."""
        if self._outboxes.get(gateway_id) is outbox:
            del self._outboxes[gateway_id]
            if timer := self._awaited.pop(gateway_id, None):
                timer.cancel()
            self._on_gateway_gone(gateway_id)

    def send(self, gateway_id: str, outputs: StepOutputs) -> None:
        """Queue a step; a gateway that has stopped reading is gone."""
        outbox = self._outboxes.get(gateway_id)
        if outbox is None:
            outbox = self._outboxes[gateway_id] = Outbox[StepOutputs]()
            loop = asyncio.get_running_loop()
            self._awaited[gateway_id] = loop.call_later(PATIENCE_S, self._give_up, gateway_id)
        if not outbox.put(outputs):
            self.close(gateway_id, outbox)

    def _give_up(self, gateway_id: str) -> None:
        self.close(gateway_id, self._outboxes[gateway_id])
