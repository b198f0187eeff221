"""What runs a batch: the seam between the step loop and a model (torch) or its cost model (mock)."""

from collections.abc import Callable
from typing import Protocol

from penstock.core.types import Batch, ModelInfo, StepOutput
from penstock.transfer.memory import KvMemory

LayersDone = Callable[[range], None]
"""Called on the event loop when the KV of these layers of the running batch is in the pool, in layer order."""


class Runner(Protocol):
    """Owns the KV pool of one worker and computes batches on it, one at a time."""

    @property
    def kv(self) -> KvMemory:
        """The pool and its layout."""
        ...

    @property
    def info(self) -> ModelInfo:
        """The model: its end tokens, context length and revision."""
        ...

    async def execute(self, batch: Batch, on_layers_done: LayersDone | None = None) -> StepOutput:
        """Run every scheduled token; sample for the items that reach their last token. Raises on device failure."""
        ...

    def close(self) -> None:
        """Stop threads and free the pool."""
        ...
