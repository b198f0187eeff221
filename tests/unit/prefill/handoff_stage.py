"""A hand-over on its way out, and the decode workers it may go to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from penstock.core.errors import (
    PenstockError,
)
from penstock.core.types import Sequence, WorkerRef
from penstock.prefill.handoff import Handoff, HandoffLimits
from penstock.transfer.peer_link import PeerLink
from tests.unit.engine.mock_engine import make_request
from tests.unit.prefill.fake_decode import FakeDecode, connect, numbers
from tests.unit.virtual_time import in_virtual_time, now_s

LIMITS = HandoffLimits(patience_s=5.0, transfer_timeout_s=10.0, retry_interval_s=0.25)
FIRST = 99


@dataclass
class Stage:
    """A handoff of 40 tokens in two chunks over two layers, and the decode workers named for it."""

    decodes: list[FakeDecode]
    links: dict[str, PeerLink] = field(default_factory=dict)
    errors: dict[str, PenstockError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        request = make_request(range(40), 10, output_token_ids=[])
        self.sequence = Sequence(request, list(range(40)), 0.0, block_ids=[7, 8, 9])
        refs = [decode.ref for decode in self.decodes]
        self.handoff = Handoff(self.sequence, refs, self.get_link, numbers(), LIMITS, now_s)

    async def get_link(self, ref: WorkerRef) -> PeerLink:
        if error := self.errors.get(ref.worker_id):
            raise error
        if ref.worker_id not in self.links or self.links[ref.worker_id].is_broken:
            [decode] = [decode for decode in self.decodes if decode.ref == ref]
            self.links[ref.worker_id] = await connect(decode)
        return self.links[ref.worker_id]

    def compute(self, *chunks: int) -> None:
        for chunk in chunks:
            tokens = (range(16), range(16, 40))[chunk]
            for layer in range(2):
                self.handoff.add_piece(range(layer, layer + 1), tokens)

    def finish(self) -> None:
        self.compute(0, 1)
        self.handoff.add_first_token(FIRST)

    async def close(self) -> None:
        for link in self.links.values():
            await link.close()


def staged(num_decodes: int = 1) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[], None]]:
    def decorate(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
        @in_virtual_time
        async def run() -> None:
            stage = Stage([FakeDecode(f"decode-{at}") for at in range(num_decodes)])
            await test(stage)
            await stage.close()

        return run

    return decorate


def moved(decode: FakeDecode) -> set[tuple[int, int]]:
    """(layer, token) of everything that arrived."""
    return {(layer, token) for push in decode.channel.done for layer in push.layers for token in push.tokens}


EVERYTHING = {(layer, token) for layer in range(2) for token in range(40)}
