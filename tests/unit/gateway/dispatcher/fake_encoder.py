"""The encoder side of a fake worker: it brings images to whoever prefills, or does what a test says."""

from typing import TYPE_CHECKING

from penstock.core.errors import PenstockError
from penstock.wire import encode_messages as e
from penstock.wire.messages import StageSpan
from tests.unit.gateway.dispatcher.fake_stream import FakeStream

if TYPE_CHECKING:
    from tests.unit.gateway.dispatcher.fake_worker import FakeWorker


class FakeEncoder:
    def __init__(self, worker: "FakeWorker") -> None:
        self.worker = worker
        self.streams: list[FakeStream[e.EncodeCalls, e.EncodeEvents]] = []
        self.starts: list[e.EncodeStart] = []
        self.cancelled: list[int] = []
        self.error: PenstockError | None = None  # what becomes of every image, instead of embeddings

    def on_call(self, calls: e.EncodeCalls) -> None:
        for start in calls.starts:
            self.starts.append(start)
            self.worker.later(self.worker.cluster.encode_s, self._deliver, start)
        self.cancelled.extend(calls.cancelled_handles)

    def _deliver(self, start: e.EncodeStart) -> None:
        if self.error is not None:
            self._say(e.EncodeEvents(failed=[e.EncodeEnded(start.handle, start.index, self.error)]))
            return
        destination = self.worker.cluster.workers[start.destination.address]
        if start.handle in destination.held and start.handle not in self.cancelled:
            destination.brought[start.handle].add(start.index)
            spans = [StageSpan("encode", self.worker.cluster.encode_s, 0.0)]
            self._say(e.EncodeEvents(delivered=[e.ImageDelivered(start.handle, start.index, spans=spans)]))

    def _say(self, events: e.EncodeEvents) -> None:
        for stream in self.streams:
            if stream.is_open and not self.worker.is_mute:
                stream.send(events)
