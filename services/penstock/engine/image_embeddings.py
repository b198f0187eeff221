"""Images inside the forward pass of a language model: their embeddings, and the rope of their tokens."""

from dataclasses import replace

import torch
from torch import Tensor

from penstock.core.types import Batch
from penstock.engine.attention.protocol import AttentionStep
from penstock.engine.image_steps import with_images
from penstock.engine.kv_cache import KvCache
from penstock.engine.models.image_input import ImageInput
from penstock.engine.models.sectioned_rope import SectionedRope
from penstock.engine.step_tensors import ImageTokens, StepInputs
from penstock.transfer.memory import KvMemory


class ImageEmbeddings:
    """The pool that encoders fill, and what makes of its rows part of a step."""

    def __init__(self, images: ImageInput, rope: SectionedRope, memory: KvMemory, device: torch.device) -> None:
        self.memory = memory
        self._merge_size = images.merge_size
        self._rope = rope
        self._device = device
        self._cache = KvCache(memory, device)
        self._halves = self._cache.tensor.view(2, -1, memory.layout.head_dim)  # [2, num_slots, hidden / 2]

    def complete(self, inputs: StepInputs, batch: Batch) -> StepInputs:
        """On the event loop, as `build_inputs`."""
        return with_images(inputs, batch, self._merge_size)

    def with_rope(self, step: AttentionStep, tokens: ImageTokens) -> AttentionStep:
        """A step whose tokens have a rope row each."""
        rope = self._rope.rows(torch.from_numpy(tokens.positions).to(self._device))
        return replace(step, rope=rope, positions=torch.arange(step.num_tokens, device=self._device))

    def inject(self, hidden: Tensor, tokens: ImageTokens) -> None:
        """Write the embeddings of images over those of their placeholders. hidden: [num_tokens, hidden]."""
        rows = torch.from_numpy(tokens.rows).to(self._device)
        embeddings = self._halves.index_select(1, rows).transpose(0, 1).flatten(1)
        hidden.index_copy_(0, torch.from_numpy(tokens.places).to(self._device), embeddings)

    def close(self) -> None:
        """Unmap the pool."""
        del self._halves
        self._cache.close()
        self.memory.close()
