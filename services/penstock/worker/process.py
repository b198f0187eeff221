"""Processes 4 and 5: one program for every language role. It joins an engine, the Prefill and the Decode service.

Its role decides only what is routed to it, so a flip needs neither restart nor reload. It stands above prefill/ and
decode/, which know nothing of each other.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry

from penstock import __version__
from penstock.core.errors import BlocksExhausted, Draining, PenstockError, WorkerLost
from penstock.core.types import Role, Sequence, WorkerRef, WorkerState
from penstock.decode.intake import Intake
from penstock.decode.loop import Decoder
from penstock.decode.service import DecodeService
from penstock.engine.drain import wait_until_empty
from penstock.engine.image_encoder import ImageEncoder
from penstock.engine.runner import Runner
from penstock.prefill.handoff import HandoffLimits
from penstock.prefill.loop import Prefiller
from penstock.prefill.service import PrefillService
from penstock.runtime import clock
from penstock.runtime.channel import Channels
from penstock.runtime.lifecycle import new_incarnation
from penstock.runtime.metrics import process_registry
from penstock.runtime.otlp import tracing
from penstock.runtime.server import RpcServer
from penstock.runtime.settings import WorkerSettings
from penstock.runtime.status_server import serve_status
from penstock.runtime.tls import load_tls
from penstock.runtime.tracing import OFF, Tracer
from penstock.transfer.link_service import LinkService
from penstock.transfer.peer_links import PeerLinks
from penstock.transfer.receiver import KvReceiver
from penstock.transfer.sender import KvSender
from penstock.wire import control_stubs, stubs
from penstock.wire.messages import LinkCalls, LinkEvents, LinkWelcome
from penstock.worker.assignment import Assignment
from penstock.worker.encoder_process import EncoderWorker
from penstock.worker.engines import build_engine_loop, build_image_encoder, build_image_encoder_beside, build_runner
from penstock.worker.metrics import WorkerMetrics, WorkerParts
from penstock.worker.registration import Registration
from penstock.worker.service import Orders, WorkerService
from penstock.worker.step_meter import StepMeter
from penstock.worker.transports import transfer_policy
from penstock.worker.vision import Vision

log = logging.getLogger(__name__)


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> int:
    """Run one worker until `stop`, then drain it. A device failure ends it with an error."""
    registry = process_registry()
    with tracing(settings.role, settings.worker_id, registry) as tracer:
        worker = _build_worker(settings, tracer)
        try:
            await worker.start(stop, registry)
            return await worker.run(stop)
        finally:
            await worker.close()


def _build_worker(settings: WorkerSettings, tracer: Tracer) -> "Worker | EncoderWorker":
    if settings.role == Role.ENCODER:
        return EncoderWorker(settings, build_image_encoder(settings), tracer)
    runner = build_runner(settings)
    return Worker(settings, runner, tracer, build_image_encoder_beside(settings, runner))


class Worker:
    """The parts of one worker process and how they hold on to each other."""

    def __init__(
        self, settings: WorkerSettings, runner: Runner, tracer: Tracer = OFF, images: ImageEncoder | None = None
    ) -> None:
        self._settings = settings
        self._drain_timeout_s = settings.drain_timeout_s
        self._runner = runner
        self._ref = WorkerRef(settings.worker_id, new_incarnation(), "")
        tls = load_tls(settings.tls_folder)
        self._channels = Channels(tls)
        self._server = RpcServer(tls)
        self._metrics_address = ""
        self._farewell: PenstockError = WorkerLost("The worker failed.")  # until it drains
        me = self._ref.worker_id, self._ref.incarnation
        self._policy = transfer_policy(settings)
        self._receiver = KvReceiver(me)
        self._sender = KvSender(runner.kv, self._policy, me)
        self._steps = StepMeter(runner)
        self._engine = build_engine_loop(settings, self._steps)
        book = self._engine.book
        self._decoder = Decoder(book, clock.now_s, tracer)
        self._intake = Intake(book, self._decoder, self._receiver, clock.now_s)
        self._links = PeerLinks(me, runner.info.revision, self._sender, self._open_link)
        self._prefiller = Prefiller(self._ref, book, self._links, self._decoder.start, HandoffLimits(), clock.now_s)
        book.on_stranded = self._hand_back
        self._vision = Vision(self._ref, self._engine, self._prefiller, images, tracer)
        self._prefill_service = PrefillService(self._prefiller, clock.now_s, tracer)
        self._decode_service = DecodeService(self._decoder, self._intake, self._ref.incarnation)
        self._link_service = LinkService(self._intake, self._ref.incarnation)
        self._registration = Registration(settings.scheduler_address, self._channels, self.state, book.pool)
        announce = self._registration.announce
        self._assignment = Assignment(self._ref, Role(settings.role), settings.group, book, announce)

    async def start(self, stop: asyncio.Event, registry: CollectorRegistry) -> None:
        """Listen for KV, serve RPCs and metrics. `stop` is set when an operator asks for a drain."""

        def begin_drain(timeout_s: float) -> None:
            self._drain_timeout_s = timeout_s
            stop.set()

        await self._receiver.start(self._runner.kv, self._policy)
        await self._vision.serve(self._server, self._policy)
        orders = Orders(begin_drain, self._assignment.flip)
        worker_service = WorkerService(self._engine.book, self._prefiller, self._intake, orders, self._vision)
        prefill, stream, link = self._prefill_service.serve, self._decode_service.stream, self._link_service.link
        self._server.add(lambda server: stubs.add_prefill(server, prefill, clock.now_s))
        self._server.add(lambda server: stubs.add_decode(server, stream, link, clock.now_s))
        self._server.add(
            lambda server: control_stubs.add_worker(
                server, worker_service.drain, worker_service.flip, worker_service.holdings
            )
        )
        address = await self._server.start(self._settings.address)
        self._ref = WorkerRef(self._ref.worker_id, self._ref.incarnation, address)
        self._prefiller.me = self._ref
        self._link_service.welcome = LinkWelcome(
            self._ref, [self._runner.kv.layout], self._receiver.endpoints, self._runner.info.revision
        )
        registry.register(WorkerMetrics(self._ref.worker_id, self._runner.info.name, self._parts()))
        self._vision.bound(self._ref, registry)
        self._metrics_address = serve_status(registry, self._settings.metrics_address, lambda: self._server.is_serving)
        await self._server.set_serving(True)
        log.info("%s worker at %s, incarnation %x", self._assignment.role.value, address, self._ref.incarnation)

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; then take nothing new and finish what is held. What is left, `close` hands back."""
        async with asyncio.TaskGroup() as tasks:
            works = (self._engine.run(), self._registration.run(), self._vision.run())
            running = [tasks.create_task(work) for work in works]
            mover = tasks.create_task(self._assignment.move_when_told(self._leave_group))
            await stop.wait()
            mover.cancel()
            await self._drain()
            for task in running:
                task.cancel()
        return 0

    async def close(self) -> None:
        """Hand back what is left, tell everyone before their streams end, and leave nothing behind."""
        self._engine.book.is_draining = True  # streams are open still, and nothing that comes now would run
        self._prefiller.fail_all(self._farewell)
        self._decoder.fail_all(self._farewell)
        self._intake.withdraw_all()
        await self._vision.hand_back(self._farewell)
        await self._prefiller.close()
        await self._links.close()
        await self._sender.close()
        await self._server.stop(grace_s=0.5)
        await self._receiver.close()
        await self._vision.close()
        await self._channels.close()
        self._runner.close()

    async def _leave_group(self) -> None:
        await self._empty(self._settings.drain_timeout_s)
        self._prefiller.fail_all(Draining("The worker moves to another group."))
        self._decoder.fail_all(Draining("The worker moves to another group."))

    def _hand_back(self, sequence: Sequence) -> None:
        """A sequence that was preempted and whose images are not here: it is computed again elsewhere."""
        key = sequence.request.gateway_id, sequence.request.handle
        error = BlocksExhausted("The sequence had to make room, and the embeddings of its images are not here.")
        self._decoder.fail(key, error)
        self._prefiller.fail(key, error)

    def state(self) -> WorkerState:
        """How the worker is, for a heartbeat. Metrics show what it last said: their thread may not walk the books."""
        settings, book, costs = self._settings, self._engine.book, self._engine.costs
        self._told = WorkerState(
            ref=self._ref,
            role=self._assignment.role,
            group=self._assignment.group,
            model=self._runner.info.name,
            revision=self._runner.info.revision,
            metrics_address=self._metrics_address,
            block_size=book.pool.block_size,
            num_blocks=book.pool.num_blocks,
            num_free_blocks=book.pool.num_free,
            num_waiting=book.num_waiting,
            num_running=len(book.running),
            num_decoding=book.num_decoding,
            max_num_sequences=settings.max_num_sequences,
            num_prefill_tokens=book.num_pending_tokens,
            num_context_tokens=book.num_context_tokens,
            prefill_base_s=costs.prefill_base_s,
            prefill_s_per_token=costs.prefill_s_per_token,
            token_interval_s=costs.token_interval_s,
            is_draining=book.is_draining,
            transports=self._links.transports,
            version=__version__,
            encodes_images=self._vision.encoder is not None,
        )
        return self._told

    def _parts(self) -> WorkerParts:
        self.state()  # the first one to show
        return WorkerParts(
            self._engine,
            self._steps,
            self._intake,
            self._sender.counters,
            self._receiver.counters,
            lambda: self._told,
        )

    async def _drain(self) -> None:
        self._assignment.forget_move()
        await self._server.set_serving(False)
        await self._empty(self._drain_timeout_s)
        self._farewell = Draining("The worker is going away.")

    async def _empty(self, timeout_s: float) -> None:
        """Take nothing new, and let what is held end, for a while."""
        book = self._engine.book
        book.is_draining = True
        self._registration.announce()
        log.info("draining: %d sequences to finish within %.0f s", len(book.owners), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await wait_until_empty(book)
        except TimeoutError:
            log.warning("%d sequences are handed back to their gateways", len(book.owners))

    def _open_link(self, ref: WorkerRef, calls: AsyncIterator[LinkCalls]) -> AsyncIterator[LinkEvents]:
        return aiter(stubs.decode_link(self._channels.get(ref.address), clock.now_s)(calls))
