"""Process 3: an encoder worker. It holds a vision tower and nothing of the language model.

It makes embeddings of images and pushes them to whoever prefills. Nothing else knows it as special: it registers, says
how it is, drains and goes like every worker.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
from prometheus_client import CollectorRegistry

from penstock import __version__
from penstock.core.blocks import BlockPool
from penstock.core.embeddings import PAGE_TOKENS
from penstock.core.errors import ChangeRefused, Draining, PenstockError, WorkerLost
from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.encoder.loop import BATCH, EncoderLimits
from penstock.encoder.push import EmbeddingPusher
from penstock.engine.image_encoder import ImageEncoder
from penstock.runtime import clock, rpc
from penstock.runtime.channel import Channels
from penstock.runtime.lifecycle import new_incarnation
from penstock.runtime.server import RpcServer
from penstock.runtime.settings import WorkerSettings
from penstock.runtime.status_server import serve_status
from penstock.runtime.tls import load_tls
from penstock.runtime.tracing import OFF, Tracer
from penstock.transfer.embeddings import allocate_embeddings
from penstock.transfer.peer_links import PeerLinks
from penstock.transfer.sender import KvSender
from penstock.wire import control_stubs, stubs
from penstock.wire.control_messages import (
    DrainRequest,
    DrainResponse,
    FlipRequest,
    FlipResponse,
    Holdings,
    HoldingsRequest,
)
from penstock.wire.messages import LinkCalls, LinkEvents
from penstock.worker.encode_metrics import EncodeMetrics, PushMetrics
from penstock.worker.encoding import Encoding
from penstock.worker.registration import Registration
from penstock.worker.transports import transfer_policy

STAGING_TOKENS = 32768  # of embeddings that are being pushed; more wait, and the vision tower with them

log = logging.getLogger(__name__)


class EncoderWorker:
    """The parts of an encoder worker."""

    def __init__(self, settings: WorkerSettings, images: ImageEncoder, tracer: Tracer = OFF) -> None:
        self._settings = settings
        self._images = images
        self._ref = WorkerRef(settings.worker_id, new_incarnation(), "")
        self._drain_timeout_s = settings.drain_timeout_s
        self._metrics_address = ""
        self._farewell: PenstockError = WorkerLost("The worker failed.")  # until it drains
        tls = load_tls(settings.tls_folder)
        self._channels = Channels(tls)
        self._server = RpcServer(tls)
        me, info = (self._ref.worker_id, self._ref.incarnation), images.info
        self._memory = allocate_embeddings(STAGING_TOKENS, info.hidden_size, info.element_bytes, info.dtype)
        self._sender = KvSender(self._memory, transfer_policy(settings), me)
        self._links = PeerLinks(me, info.revision, self._sender, self._open_link)
        self._pusher = EmbeddingPusher(self._memory, self._links.get, clock.now_s)
        batch = replace(BATCH, capacity_tokens=STAGING_TOKENS)
        limits = EncoderLimits(cache_bytes=settings.kv_memory_bytes, batch=batch)
        self._encoding = Encoding(images, self._ref, self._pusher.push, limits, tracer)
        no_prefixes = BlockPool(0, PAGE_TOKENS)
        self._registration = Registration(settings.scheduler_address, self._channels, self.state, no_prefixes)

    async def start(self, stop: asyncio.Event, registry: CollectorRegistry) -> None:
        """Serve RPCs and metrics. `stop` is set when an operator asks for a drain."""

        async def drain(request: DrainRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> DrainResponse:
            self._drain_timeout_s = request.timeout_s
            stop.set()
            return DrainResponse(self._encoding.encoder.num_errands)

        self._encoding.serve(self._server)
        self._server.add(lambda server: control_stubs.add_worker(server, drain, self._flip, self._holdings))
        address = await self._server.start(self._settings.address)
        self._ref = WorkerRef(self._ref.worker_id, self._ref.incarnation, address)
        registry.register(EncodeMetrics(self._ref.worker_id, self._model, self._encoding.encoder))
        registry.register(PushMetrics(self.state, self._sender.counters))
        self._metrics_address = serve_status(registry, self._settings.metrics_address, lambda: self._server.is_serving)
        await self._server.set_serving(True)
        log.info("encoder worker at %s, incarnation %x", address, self._ref.incarnation)

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; then take nothing new and finish what is held. What is left, `close` hands back."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in (self._encoding.encoder.run(), self._registration.run())]
            await stop.wait()
            await self._drain()
            for task in running:
                task.cancel()
        return 0

    async def close(self) -> None:
        """Hand back what is left, tell everyone before their streams end, and leave nothing behind."""
        self._encoding.encoder.is_draining = True
        await self._encoding.hand_back(self._farewell)
        await self._links.close()
        await self._sender.close()
        await self._server.stop(grace_s=0.5)
        await self._channels.close()
        self._encoding.close()
        self._memory.close()

    def state(self) -> WorkerState:
        """How the worker is, for a heartbeat. What prompts are elsewhere, images are here: tokens stand for patches."""
        encoder, layout = self._encoding.encoder, self._memory.layout
        return WorkerState(
            ref=self._ref,
            role=Role.ENCODER,
            group=self._settings.group,
            model=self._model,
            revision=self._images.info.revision,
            metrics_address=self._metrics_address,
            block_size=layout.block_size,
            num_blocks=layout.num_blocks,
            num_free_blocks=layout.num_blocks - self._pusher.num_pages,
            num_waiting=encoder.num_waiting,
            num_running=encoder.num_errands - encoder.num_waiting,
            num_prefill_tokens=encoder.num_patches,
            prefill_base_s=encoder.costs.prefill_base_s,
            prefill_s_per_token=encoder.costs.prefill_s_per_token,
            is_draining=encoder.is_draining,
            transports=self._links.transports,
            version=__version__,
            encodes_images=True,
        )

    @property
    def _model(self) -> str:
        return Path(self._settings.model).name

    async def _drain(self) -> None:
        encoder = self._encoding.encoder
        await self._server.set_serving(False)
        encoder.is_draining = True
        self._registration.announce()
        log.info("draining: %d images to deliver within %.0f s", encoder.num_errands, self._drain_timeout_s)
        try:
            async with asyncio.timeout(self._drain_timeout_s):
                await encoder.wait_until_empty()
        except TimeoutError:
            log.warning("%d images are handed back to their gateways", encoder.num_errands)
        self._farewell = Draining("The worker is going away.")

    async def _flip(self, _request: FlipRequest, context: "grpc.aio.ServicerContext[Any, Any]") -> FlipResponse:
        await rpc.abort(context, ChangeRefused("An encoder worker holds no language model, and has no other role."))

    async def _holdings(self, _request: HoldingsRequest, _context: "grpc.aio.ServicerContext[Any, Any]") -> Holdings:
        return Holdings(
            num_embedding_pages=self._pusher.num_pages,
            num_images=self._encoding.encoder.num_errands,
            num_open_files=psutil.Process().num_fds(),
        )

    def _open_link(self, ref: WorkerRef, calls: AsyncIterator[LinkCalls]) -> AsyncIterator[LinkEvents]:
        return aiter(stubs.embeddings_link(self._channels.get(ref.address), clock.now_s)(calls))
