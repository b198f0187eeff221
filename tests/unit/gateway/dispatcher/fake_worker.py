"""A worker without sockets: it answers, refuses, falls silent, dies, or does what a test says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.core.errors import QueueFull, WorkerLost
from penstock.core.types import (
    FinishReason,
    Request,
    Role,
    SampledToken,
    WorkerRef,
    WorkerState,
)
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_encoder import FakeEncoder
from tests.unit.gateway.dispatcher.fake_stream import FakeStream
from tests.unit.gateway.dispatcher.requests import draw

if TYPE_CHECKING:
    from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster


@dataclass(eq=False)
class FakeWorker:
    """`script` replaces what it does with an offer; without one it accepts, prefills, hands over and decodes."""

    cluster: "FakeCluster"
    ref: WorkerRef
    role: Role
    is_full: bool = False
    is_listed: bool = True  # by the router
    is_mute: bool = False  # alive, says nothing: a stopped process
    script: "Callable[[FakeWorker, m.PrefillStart], None] | None" = None
    capacity: int = 10_000
    offers: list[m.PrefillStart] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    held: dict[int, Request] = field(default_factory=dict)  # accepted here or decoding here
    prefills: list[FakeStream[m.PrefillCalls, m.PrefillEvents]] = field(default_factory=list)
    decodes: list[FakeStream[m.DecodeCalls, m.StepOutputs]] = field(default_factory=list)
    is_alive: bool = True
    is_stepping: bool = False
    encodes_images: bool = False
    has_embeddings: bool = False  # of every image there is
    brought: dict[int, set[int]] = field(default_factory=dict)  # of what it holds, images that are there

    def __post_init__(self) -> None:
        self.images = FakeEncoder(self)

    @property
    def state(self) -> WorkerState:
        return WorkerState(self.ref, self.role, encodes_images=self.encodes_images)

    # --- what it says ---

    def say(self, events: m.PrefillEvents) -> None:
        for stream in self.prefills:
            if stream.is_open and not self.is_mute:
                stream.send(events)

    def step(self, outputs: m.StepOutputs) -> None:
        for stream in self.decodes:
            if stream.is_open and not self.is_mute:
                stream.send(outputs)

    def break_streams(self) -> None:
        streams: list[FakeStream[Any, Any]] = [*self.prefills, *self.decodes, *self.images.streams]
        for stream in streams:
            stream.send(WorkerLost("connection reset"))

    def die(self) -> None:
        """kill -9."""
        self.is_alive = False
        self.held.clear()
        self.break_streams()

    # --- what it hears ---

    def on_prefill_call(self, calls: m.PrefillCalls) -> None:
        for start in calls.starts:
            self.offers.append(start)
            if self.script is not None:
                self.script(self, start)
            else:
                self.take(start)
        self.on_cancel(calls.cancelled_handles)

    def on_cancel(self, handles: Sequence[int]) -> None:
        self.cancelled.extend(handles)
        for handle in handles:
            self.held.pop(handle, None)

    # --- what it does ---

    def take(self, start: m.PrefillStart) -> None:
        handle = start.request.handle
        if self.is_full or len(self.held) >= self.capacity:
            self.say(m.PrefillEvents(refused=[m.PrefillEnded(handle, QueueFull("full"))]))
            return
        self.held[handle] = start.request
        num_images = len(start.request.images)
        self.brought[handle] = set(range(num_images)) if self.has_embeddings else set()
        wanted = [index for index in range(num_images) if index not in self.brought[handle]]
        self.say(m.PrefillEvents([handle], wanted_images=[m.WantedImages(handle, wanted)] if wanted else ()))
        self.later(self.cluster.prefill_s, self.prefill, start)

    def prefill(self, start: m.PrefillStart) -> None:
        request = start.request
        if request.handle not in self.held:
            return
        if len(self.brought[request.handle]) < len(request.images):
            self.later(self.cluster.prefill_s, self.prefill, start)
            return
        token_id = draw([*request.prompt_token_ids, *request.output_token_ids], request.sampling.seed)
        is_last = len(request.output_token_ids) + 1 >= request.sampling.max_tokens
        reason = FinishReason.LENGTH if is_last else None
        first = m.FirstToken(request.handle, SampledToken(token_id), 3, reason)
        self.say(m.PrefillEvents(first_tokens=[first]))
        if is_last:
            self.release(request.handle)
        else:
            self.later(self.cluster.transfer_s, self.hand_over, start, token_id)

    def hand_over(self, start: m.PrefillStart, token_id: int) -> None:
        handle = start.request.handle
        if handle not in self.held:
            return
        for ref in start.decode_candidates:
            decode = self.cluster.workers.get(ref.address)
            if decode is not None and decode.ref == ref and not decode.is_mute:
                self.release(handle)
                output = (*start.request.output_token_ids, token_id)
                decode.decode(start.request, output)
                self.say(m.PrefillEvents(handed_off=[m.HandedOff(handle, ref)]))
                return
        self.release(handle)
        self.say(m.PrefillEvents(failed=[m.PrefillEnded(handle, WorkerLost("no decode worker"))]))

    def release(self, handle: int) -> None:
        self.held.pop(handle, None)
        if self.role is Role.PREFILL:
            self.say(m.PrefillEvents(has_capacity=True))

    def decode(self, request: Request, output: tuple[int, ...]) -> None:
        self.held[request.handle] = Request(
            request.request_id,
            request.attempt,
            request.gateway_id,
            request.handle,
            request.prompt_token_ids,
            request.sampling,
            output,
        )
        if not self.is_stepping:
            self.is_stepping = True
            self.later(self.cluster.step_s, self.run_step)

    def run_step(self) -> None:
        """One token for everything it holds, in one message."""
        handles, token_ids, positions, finished = [], [], [], []
        for handle, request in list(self.held.items()):
            output = request.output_token_ids
            token_id = draw([*request.prompt_token_ids, *output], request.sampling.seed)
            handles.append(handle)
            token_ids.append(token_id)
            positions.append(len(output))
            if len(output) + 1 >= request.sampling.max_tokens:
                finished.append(m.Finished(handle, FinishReason.LENGTH))
                del self.held[handle]
            else:
                self.decode(request, (*output, token_id))
        self.step(m.StepOutputs(0, handles, token_ids, positions, finished))
        self.is_stepping = bool(self.held)
        if self.held:
            self.later(self.cluster.step_s, self.run_step)

    def later(self, delay_s: float, act: Callable[..., None], *args: Any) -> None:
        def unless_dead() -> None:
            if self.is_alive:
                act(*args)

        asyncio.get_running_loop().call_later(delay_s, unless_dead)
