"""The encoder of a worker: a vision tower, the service that feeds it, and where its embeddings go."""

from collections.abc import Sequence

from penstock.core.errors import PenstockError, UnknownReservation
from penstock.core.types import WorkerRef
from penstock.encoder.loop import Deliver, Encoder, EncoderLimits
from penstock.encoder.service import EncoderService
from penstock.engine.image_encoder import ImageEncoder
from penstock.prefill.image_intake import ImageIntake
from penstock.runtime import clock
from penstock.runtime.server import RpcServer
from penstock.runtime.tracing import Tracer
from penstock.transfer.memory import Bytes
from penstock.wire import stubs
from penstock.wire.encode_messages import EncodeStart
from penstock.wire.messages import StageSpan


class Encoding:
    """Of one worker, whatever else it does."""

    def __init__(
        self, images: ImageEncoder, me: WorkerRef, deliver: Deliver, limits: EncoderLimits, tracer: Tracer
    ) -> None:
        self.encoder = Encoder(images, deliver, limits, clock.now_s)
        self._images = images
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


def delivering_here(me: WorkerRef, intake: ImageIntake) -> Deliver:
    """For a worker that encodes what it prefills."""

    async def deliver(gateway_id: str, start: EncodeStart, rows: Bytes) -> Sequence[StageSpan]:
        if (start.destination.worker_id, start.destination.incarnation) != (me.worker_id, me.incarnation):
            raise UnknownReservation(f"{me.worker_id} encodes images for itself alone.")
        await intake.deliver((gateway_id, start.handle), start.index, start.image, rows)
        return ()

    return deliver
