"""The encoder of a worker: a vision tower, the service that feeds it, and where its embeddings go."""

from collections.abc import Awaitable, Callable, Sequence

from penstock.core.errors import PenstockError, UnknownReservation
from penstock.core.images import ImageSpan
from penstock.core.types import WorkerRef
from penstock.encoder.loop import Encoder, EncoderLimits
from penstock.encoder.service import EncoderService
from penstock.engine.image_encoder import ImageEncoder
from penstock.runtime import clock
from penstock.runtime.server import RpcServer
from penstock.runtime.tracing import Tracer
from penstock.transfer.memory import Bytes
from penstock.wire import stubs
from penstock.wire.encode_messages import EncodeStart
from penstock.wire.messages import StageSpan

DeliverHere = Callable[[tuple[str, int], int, ImageSpan, Bytes], Awaitable[None]]
"""Takes (gateway_id, handle), the image's place, the image and its embeddings."""


class Encoding:
    """Of a worker that encodes images beside its language work, for itself."""

    def __init__(self, images: ImageEncoder, me: WorkerRef, deliver_here: DeliverHere, tracer: Tracer) -> None:
        self.encoder = Encoder(images, self._deliver, EncoderLimits(), clock.now_s)
        self._images = images
        self._me = me
        self._deliver_here = deliver_here
        self._service = EncoderService(self.encoder, me.incarnation, clock.now_s, tracer)

    def serve(self, server: RpcServer) -> None:
        """Before the server starts."""
        server.add(lambda grpc_server: stubs.add_encoder(grpc_server, self._service.serve, clock.now_s))

    async def hand_back(self, error: PenstockError) -> None:
        """Tell gateways to go elsewhere, before their streams end."""
        self.encoder.fail_all(error)
        await self.encoder.close()

    def close(self) -> None:
        self._images.close()

    async def _deliver(self, gateway_id: str, start: EncodeStart, rows: Bytes) -> Sequence[StageSpan]:
        me = start.destination.worker_id, start.destination.incarnation
        if me != (self._me.worker_id, self._me.incarnation):
            raise UnknownReservation(f"{self._me.worker_id} encodes images for itself alone.")
        await self._deliver_here((gateway_id, start.handle), start.index, start.image, rows)
        return ()
