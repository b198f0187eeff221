"""An engine without a model: it sleeps by a cost model and emits tokens that follow from the KV it finds.

Each KV slot holds a running hash of the sequence up to its token, and a sampled token is a function of the hash in the
last slot alone. So tokens are deterministic, continue exactly after a hand-over or a resume, and turn out wrong as soon
as one slot was lost, misplaced or corrupted on the way: what is measured or broken with it is the real data path. A
token of an image enters the hash as its embedding, so the same holds for embeddings.
"""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt

from penstock.core.errors import UnsupportedModel
from penstock.core.kv_layout import KvLayout
from penstock.core.types import Batch, ModelInfo, SampledToken, ScheduledSequence, StepOutput, TokenLogprobs
from penstock.engine.mock_costs import MockCosts
from penstock.engine.mock_image_encoder import mock_embeddings_pool
from penstock.engine.models.language_part import language_part
from penstock.engine.options import EngineOptions, read_json
from penstock.engine.runner import LayerGate, LayersDone
from penstock.transfer.embeddings import halves_of, pool_rows
from penstock.transfer.memory import KvMemory, allocate_kv_memory

MASK = (1 << 64) - 1
MAX_BLOCKS = 16384  # as many as a large GPU's; a token of mock KV is so small that memory would allow millions
MULTIPLIER = 6364136223846793005  # Knuth's MMIX generator


def mock_layout(num_blocks: int, block_size: int) -> KvLayout:
    """Two layers of one head of one 64-bit element: small, yet all the transfer layer does is done to it."""
    return KvLayout(
        num_layers=2,
        num_kv_heads=1,
        head_dim=1,
        block_size=block_size,
        num_blocks=num_blocks,
        element_bytes=8,
        dtype="uint64",
    )


def build(options: EngineOptions) -> "MockRunner":
    """A mock of the model in a folder: its vocabulary, its context length, its end tokens, nothing of its weights."""
    config = language_part(read_json(options.folder / "config.json"))
    vocab_size, max_context_tokens = config.get("vocab_size"), config.get("max_position_embeddings")
    if not isinstance(vocab_size, int) or not isinstance(max_context_tokens, int):
        raise UnsupportedModel(f"{options.folder}/config.json names no vocab_size or max_position_embeddings.")
    eos = config.get("eos_token_id")
    info = ModelInfo(
        name=options.folder.name,
        revision="mock",
        vocab_size=vocab_size,
        max_context_tokens=max_context_tokens,
        eos_token_ids=frozenset(eos if isinstance(eos, list) else [eos] if isinstance(eos, int) else []),
    )
    token_bytes = mock_layout(1, options.block_size).token_bytes
    num_blocks = options.num_blocks or min(options.count_blocks(token_bytes), MAX_BLOCKS)
    embeddings = mock_embeddings_pool(config, options.num_embedding_tokens)
    layout, costs = mock_layout(num_blocks, options.block_size), MockCosts.parse(options.mock_costs)
    return MockRunner(info, layout, costs, embeddings=embeddings)


class MockRunner:
    """A Runner whose model is arithmetic."""

    def __init__(
        self,
        info: ModelInfo,
        layout: KvLayout,
        costs: MockCosts,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        embeddings: KvMemory | None = None,
    ) -> None:
        self._info = info
        self._costs = costs
        self._sleep = sleep
        self._memory = allocate_kv_memory(layout)
        self._embeddings = embeddings
        slots = np.frombuffer(self._memory.view, np.uint64)
        self._slots: npt.NDArray[np.uint64] = slots.reshape(layout.num_layers * 2, -1)  # [layer and K|V, slot]
        self._block_size = layout.block_size

    @property
    def kv(self) -> KvMemory:
        return self._memory

    @property
    def embeddings(self) -> KvMemory | None:
        return self._embeddings

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def execute(
        self, batch: Batch, on_layers_done: LayersDone | None = None, gate: LayerGate | None = None
    ) -> StepOutput:
        duration_s = self._costs.of(batch)
        if gate is None:
            await self._sleep(duration_s)
        else:
            num_before = gate.num_layers_done
            await self._sleep_by_layer(duration_s, gate)
            num_layers = self._memory.layout.num_layers
            duration_s *= (gate.num_layers_done - num_before) / num_layers
            if gate.num_layers_done < num_layers:
                gate.paused = batch
                return StepOutput(batch.step, (), duration_s)
        tokens = tuple(self._run(item) for item in batch.items)
        if on_layers_done:
            for layer in range(self._memory.layout.num_layers):
                on_layers_done(range(layer, layer + 1))
        return StepOutput(batch.step, tokens, duration_s)

    async def _sleep_by_layer(self, duration_s: float, gate: LayerGate) -> None:
        gate.paused, gate.is_pause_wanted = None, False
        num_layers = self._memory.layout.num_layers
        while gate.num_layers_done < num_layers and not gate.is_pause_wanted:
            await self._sleep(duration_s / num_layers)
            gate.num_layers_done += 1

    def close(self) -> None:
        del self._slots
        self._memory.close()
        if self._embeddings is not None:
            self._embeddings.close()

    def _run(self, item: ScheduledSequence) -> SampledToken | None:
        sequence = item.sequence
        state = int(self._slots[0, self._slot(item, item.start - 1)]) if item.start else 0
        for position, value in enumerate(self._values(item), item.start):
            state = (state * MULTIPLIER + value + 1) & MASK
            self._slots[:, self._slot(item, position)] = state
        if not item.is_sampled:
            return None
        token_id = self._draw(state)
        num_logprobs = sequence.request.sampling.num_logprobs
        if num_logprobs is None:
            return SampledToken(token_id)
        certain = num_logprobs > 0
        return SampledToken(token_id, TokenLogprobs(0.0, (token_id,) * certain, (0.0,) * certain))

    def _values(self, item: ScheduledSequence) -> list[int]:
        """Of each token to run: its id, or for one of an image the first words of both halves of its embedding."""
        values = item.sequence.token_ids[item.start : item.end]
        for index, image in enumerate(item.sequence.request.images):
            first, last = max(image.start, item.start), min(image.end, item.end)
            if first < last and self._embeddings is not None:
                rows = pool_rows(item.sequence.image_block_ids[index], first - image.start, last - image.start)
                words = np.ascontiguousarray(halves_of(self._embeddings)[:, rows, :8]).view(np.uint64)
                low, high = words[..., 0].tolist()
                values[first - item.start : last - item.start] = [
                    a * MULTIPLIER + b for a, b in zip(low, high, strict=True)
                ]
        return values

    def _slot(self, item: ScheduledSequence, position: int) -> int:
        block_id = item.sequence.block_ids[position // self._block_size]
        return block_id * self._block_size + position % self._block_size

    def _draw(self, state: int) -> int:
        """A token that depends on every bit of the state and never ends the sequence."""
        mixed = ((state ^ (state >> 31)) * 0x9E3779B97F4A7C15 & MASK) >> 33
        token_id = mixed % self._info.vocab_size
        while token_id in self._info.eos_token_ids:
            token_id = (token_id + 1) % self._info.vocab_size
        return token_id
