"""One request's images on their way through the encoders, before its prompt is routed.

arrived --> spread over encoders --> all shards encoded --> the prompt is routed, the embeddings follow it
               ^ a shard's encoder died --'         '--> no encoder is left: whoever prefills encodes, too
"""

from collections.abc import Callable, Sequence
from functools import partial

from penstock.core.policies.encoder_batching import EncodeJob
from penstock.core.types import WorkerRef
from penstock.simulator.asking import Conversation
from penstock.simulator.gateway import Desk
from penstock.simulator.transfers import Port

OnEncodedAll = Callable[[bool, Sequence[tuple[Port, int]]], None]
"""Whether all images are encoded; and from which ports how many embeddings (tokens) come."""


class Encoding:
    """Of one request. `on_over` is called once."""

    def __init__(self, conversation: Conversation, desk: Desk, on_over: OnEncodedAll) -> None:
        self._request_id = conversation.request_id
        self._spec = conversation.spec
        self._desk = desk
        self._on_over = on_over
        self._num_left = conversation.spec.num_images
        self._sources: list[tuple[Port, int]] = []
        self._num_shards = 0
        self._is_over = False

    def begin(self) -> None:
        self._desk.events.after(self._desk.rpc_s, partial(self._spread, self._spec.num_images))

    def _spread(self, num_images: int) -> None:
        """Ask the router who encodes how many, and send them there."""
        patches = [self._spec.patches_per_image] * num_images
        shards = self._desk.router.book.shard_images(patches, self._desk.events.now_s)
        if not shards and not self._is_over:
            self._is_over = True
            self._on_over(False, ())
        for ref, indices in shards.items():
            self._desk.events.after(2 * self._desk.rpc_s, partial(self._send, ref, len(indices)))

    def _send(self, ref: WorkerRef, num_images: int) -> None:
        worker = self._desk.find_worker(ref)
        if worker is None:
            self._spread(num_images)
            return
        self._num_shards += 1
        num_tokens = num_images * self._spec.tokens_per_image
        num_patches = num_images * self._spec.patches_per_image
        job = EncodeJob(f"{self._request_id}/{self._num_shards}", num_patches, num_tokens)
        worker.encodes.add(job, partial(self._on_shard, worker.port, num_images))

    def _on_shard(self, port: Port, num_images: int, is_encoded: bool) -> None:
        if not is_encoded:
            self._spread(num_images)
            return
        self._sources.append((port, num_images * self._spec.tokens_per_image))
        self._num_left -= num_images
        if not self._num_left:
            self._desk.events.after(self._desk.rpc_s, partial(self._on_over, True, self._sources))
