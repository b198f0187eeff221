"""Runs batches of a real model: one flattened forward pass for each step, in a thread of its own.

Life of a request: prefill (step 4) and decode (step 8) compute here. While a step runs, the event loop stays free; it
is told after each group of layers that their KV is in the pool, so that it leaves while later layers still compute.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import torch

from penstock.core.types import Batch, ModelInfo, SampledToken, StepOutput
from penstock.engine.attention.backends import attention_for
from penstock.engine.attention.protocol import Attention, AttentionGeometry
from penstock.engine.checkpoint import Checkpoint
from penstock.engine.host_memory import keep_freed_memory
from penstock.engine.image_embeddings import ImageEmbeddings
from penstock.engine.kv_cache import KvCache, kv_layout
from penstock.engine.models.config import ModelConfig
from penstock.engine.models.decoder import AfterLayer, Decoder
from penstock.engine.models.rope import rope_table
from penstock.engine.models.sectioned_rope import SectionedRope
from penstock.engine.options import EngineOptions
from penstock.engine.placement import device_named, dtype_name, dtype_named
from penstock.engine.runner import LayerGate, LayersDone
from penstock.engine.sampler import sample
from penstock.engine.step_tensors import ImageTokens, StepInputs, build_inputs, to_device
from penstock.engine.weights import load_decoder
from penstock.runtime.clock import now_s
from penstock.transfer.embeddings import allocate_embeddings
from penstock.transfer.memory import KvMemory, allocate_kv_memory

NUM_LAYER_GROUPS = 4  # of one step: enough for transfers to overlap with compute, few enough to cost nothing
SMALL_STEP = 1 << 24  # multiply-adds below which waking a second thread costs more than it saves (measured)


def build(options: EngineOptions) -> "ModelRunner":
    """Load the model in a folder and allocate its KV pool.

    All of it in the thread that will run it: OpenMP keeps a team of threads for each thread that ever computed, and
    with more of them than cores it stops spinning between parallel regions, which halves the speed of a decode.
    """
    executor = ThreadPoolExecutor(1, "model-runner")
    try:
        return executor.submit(_load, options, executor).result()
    except BaseException:
        executor.shutdown()
        raise


def _load(options: EngineOptions, executor: ThreadPoolExecutor) -> "ModelRunner":
    device = device_named(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    checkpoint = Checkpoint(options.folder)
    config = checkpoint.config
    dtype = dtype_named(options.dtype, config.dtype)
    decoder = load_decoder(checkpoint, dtype, device)
    num_blocks = options.count_blocks(kv_layout(config, dtype, 1, options.block_size).token_bytes)
    memory = allocate_kv_memory(kv_layout(config, dtype, num_blocks, options.block_size))
    geometry = AttentionGeometry(
        config.num_heads, config.num_kv_heads, config.head_dim, config.head_dim**-0.5, config.windows
    )
    rope = rope_table(config.rope, config.head_dim, config.max_context_tokens)
    cache = KvCache(memory, device)
    attention = attention_for(device)(geometry, rope, cache.tensor)
    info = ModelInfo(
        name=options.folder.name,
        revision=f"{checkpoint.revision()}-{dtype_name(dtype)}",
        vocab_size=config.vocab_size,
        max_context_tokens=config.max_context_tokens,
        eos_token_ids=config.eos_token_ids,
    )
    images = _image_embeddings(config, options.num_embedding_tokens, dtype, device)
    return ModelRunner(Model(info, decoder, attention, images), memory, cache, executor)


def _image_embeddings(
    config: ModelConfig, num_tokens: int, dtype: torch.dtype, device: torch.device
) -> ImageEmbeddings | None:
    if config.images is None:
        return None
    memory = allocate_embeddings(num_tokens, config.hidden_size, dtype.itemsize, dtype_name(dtype))
    rope = SectionedRope(config.rope, config.head_dim, config.images.rope_sections, device)
    return ImageEmbeddings(config.images, rope, memory, device)


@dataclass(frozen=True, slots=True)
class Model:
    """What computes, and what is known of it."""

    info: ModelInfo
    decoder: Decoder
    attention: Attention
    images: ImageEmbeddings | None  # None: the model takes none


@dataclass(slots=True, eq=False)
class ForwardPass:
    """A step on its way through the layers; between two of them it may be paused, and then holds its activations."""

    inputs: StepInputs
    num_layers_done: int = 0
    hidden: torch.Tensor | None = None  # [num_tokens, hidden] after those layers, while paused


class ModelRunner:
    """A Runner on torch. All that touches tensors happens in the executor's one thread."""

    def __init__(self, model: Model, memory: KvMemory, cache: KvCache, executor: ThreadPoolExecutor) -> None:
        self._model: Model | None = model
        self._info = model.info
        self._images = model.images
        self._eos_token_ids = tuple(sorted(model.info.eos_token_ids))
        self._layer_groups = _layer_groups(memory.layout.num_layers, NUM_LAYER_GROUPS)
        self._num_threads = torch.get_num_threads()
        self._memory = memory
        self._cache = cache
        self._executor = executor

    @property
    def kv(self) -> KvMemory:
        return self._memory

    @property
    def embeddings(self) -> KvMemory | None:
        return self._images.memory if self._images is not None else None

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def execute(
        self, batch: Batch, on_layers_done: LayersDone | None = None, gate: LayerGate | None = None
    ) -> StepOutput:
        loop, num_layers = asyncio.get_running_loop(), self._memory.layout.num_layers
        begin_s = now_s()
        if gate is not None and isinstance(gate.paused, ForwardPass):
            forward = gate.paused
            gate.paused, gate.is_pause_wanted = None, False
        else:
            forward = ForwardPass(self._inputs(batch))

        def after_layer(layer: int) -> bool:
            forward.num_layers_done = layer + 1
            if on_layers_done and (group := self._layer_groups.get(layer)):
                self._wait_for_device()
                loop.call_soon_threadsafe(on_layers_done, group)
            if gate is None:
                return False
            gate.num_layers_done = layer + 1
            return gate.is_pause_wanted

        sampled = await loop.run_in_executor(self._executor, self._forward, forward, after_layer)
        if gate is not None and forward.num_layers_done < num_layers:
            gate.paused = forward
            return StepOutput(batch.step, (), now_s() - begin_s)
        tokens: list[SampledToken | None] = [None] * len(batch.items)
        for item, token in zip(forward.inputs.sampled_items, sampled, strict=True):
            tokens[item] = token
        return StepOutput(batch.step, tuple(tokens), now_s() - begin_s)

    def close(self) -> None:
        self._executor.shutdown()
        self._model = None  # its views hold the pool's mapping
        if self._images is not None:
            self._images.close()
        self._cache.close()
        self._memory.close()

    def _inputs(self, batch: Batch) -> StepInputs:
        inputs = build_inputs(batch, self._memory.layout.block_size, self._eos_token_ids)
        return inputs if self._images is None else self._images.complete(inputs, batch)

    @torch.inference_mode()
    def _forward(self, forward: ForwardPass, after_layer: AfterLayer) -> list[SampledToken]:
        """From where the pass stands to its end, or to where `after_layer` stops it: then nothing is sampled."""
        assert self._model is not None, "closed"
        decoder, attention, inputs = self._model.decoder, self._model.attention, forward.inputs
        is_small = inputs.num_tokens * decoder.num_weights < SMALL_STEP
        torch.set_num_threads(1 if is_small else self._num_threads)
        token_ids, last_tokens, step = to_device(inputs, decoder.device)
        if inputs.images is not None and self._images is not None:
            step = self._images.with_rope(step, inputs.images)
        attention.begin(step)
        hidden = self._embed(token_ids, inputs.images) if forward.hidden is None else forward.hidden
        hidden = decoder.run_layers(hidden, attention, after_layer, forward.num_layers_done)
        if forward.num_layers_done < self._memory.layout.num_layers:
            forward.hidden = hidden
            return []
        if not inputs.rows:
            return []
        if len(inputs.rows) < inputs.num_tokens:
            hidden = hidden.index_select(0, last_tokens)
        return sample(decoder.logits(hidden), inputs.rows)

    def _embed(self, token_ids: torch.Tensor, image_tokens: ImageTokens | None) -> torch.Tensor:
        assert self._model is not None, "closed"
        hidden = self._model.decoder.embed(token_ids)
        if image_tokens is not None and self._images is not None:
            self._images.inject(hidden, image_tokens)
        return hidden

    def _wait_for_device(self) -> None:
        """A GPU runs behind its host; what is reported must be in the pool."""
        assert self._model is not None
        if self._model.decoder.device.type == "cuda":
            torch.cuda.current_stream().synchronize()


def _layer_groups(num_layers: int, num_groups: int) -> dict[int, range]:
    """By its last layer, each group of layers that is reported as one."""
    bounds = [num_layers * i // num_groups for i in range(num_groups + 1)]
    return {end - 1: range(begin, end) for begin, end in pairwise(bounds) if end > begin}
