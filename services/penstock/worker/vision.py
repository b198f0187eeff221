"""What a language worker has for images: the pool that embeddings arrive in, and an encoder of its own if it has one.

A model that takes no images has neither, and all of this does nothing.
"""

from prometheus_client import CollectorRegistry

from penstock.core.errors import PenstockError
from penstock.core.types import WorkerRef
from penstock.encoder.loop import Encoder, EncoderLimits
from penstock.engine.image_encoder import ImageEncoder
from penstock.engine.loop import EngineLoop
from penstock.prefill.image_intake import ImageIntake
from penstock.prefill.loop import Prefiller
from penstock.runtime import clock
from penstock.runtime.server import RpcServer
from penstock.runtime.tracing import Tracer
from penstock.transfer.link_service import LinkService
from penstock.transfer.policy import TransferPolicy
from penstock.transfer.receiver import KvReceiver
from penstock.wire import stubs
from penstock.wire.messages import LinkWelcome
from penstock.worker.encode_metrics import EncodeMetrics
from penstock.worker.encoding import Encoding, delivering_here

LIMITS = EncoderLimits(cache_bytes=2**28)  # beside the pool, which is a cache of its own


class _Inlet:
    """Where encoders bring embeddings."""

    def __init__(self, me: WorkerRef, engine: EngineLoop, prefiller: Prefiller) -> None:
        memory = engine.runner.embeddings
        assert memory is not None, "the model takes images"
        self.memory = memory
        self.receiver = KvReceiver((me.worker_id, me.incarnation))
        self.intake = ImageIntake(engine.book, memory, self.receiver, prefiller.find)
        self.service = LinkService(self.intake, me.incarnation)


class Vision:
    """Of one language worker."""

    def __init__(
        self, me: WorkerRef, engine: EngineLoop, prefiller: Prefiller, images: ImageEncoder | None, tracer: Tracer
    ) -> None:
        self._engine = engine
        self._inlet = _Inlet(me, engine, prefiller) if engine.runner.embeddings is not None else None
        self._encoding: Encoding | None = None
        if images is not None and self._inlet is not None:
            self._encoding = Encoding(images, me, delivering_here(me, self._inlet.intake), LIMITS, tracer)

    @property
    def encoder(self) -> Encoder | None:
        return self._encoding.encoder if self._encoding is not None else None

    @property
    def num_images(self) -> int:
        """To be encoded or delivered here, or on their way from encoders."""
        num_errands = self._encoding.encoder.num_errands if self._encoding is not None else 0
        return num_errands + (self._inlet.intake.num_promises if self._inlet is not None else 0)

    async def serve(self, server: RpcServer, policy: TransferPolicy) -> None:
        """Before the server starts."""
        if (inlet := self._inlet) is not None:
            await inlet.receiver.start(inlet.memory, policy)
            server.add(lambda to: stubs.add_embeddings(to, inlet.service.link, clock.now_s))
        if self._encoding is not None:
            self._encoding.serve(server)

    def bound(self, me: WorkerRef, registry: CollectorRegistry) -> None:
        """The server's address is known."""
        info = self._engine.runner.info
        if (inlet := self._inlet) is not None:
            inlet.service.welcome = LinkWelcome(me, [inlet.memory.layout], inlet.receiver.endpoints, info.revision)
        if self._encoding is not None:
            registry.register(EncodeMetrics(me.worker_id, info.name, self._encoding.encoder))

    async def run(self) -> None:
        """Encode for ever, if there is anything to encode with."""
        if self._encoding is not None:
            await self._encoding.encoder.run()

    async def hand_back(self, error: PenstockError) -> None:
        """Tell gateways to go elsewhere, before their streams end."""
        if self._encoding is not None:
            await self._encoding.hand_back(error)

    async def close(self) -> None:
        """After the server has stopped, before the engine frees the pool."""
        if self._inlet is not None:
            await self._inlet.receiver.close()
        if self._encoding is not None:
            self._encoding.close()
