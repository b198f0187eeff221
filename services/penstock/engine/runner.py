"""What runs a batch: the seam between the step loop and a model (torch) or its cost model (mock)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from penstock.core.types import Batch, ModelInfo, StepOutput
from penstock.transfer.memory import KvMemory

LayersDone = Callable[[range], None]
"""Called on the event loop when the KV of these layers of the running batch is in the pool, in layer order."""


@dataclass(slots=True, eq=False)
class LayerGate:
    """Where a step stands between two layers. The event loop wishes for a pause, the runner makes it.

    A paused step is run again with the same gate, and goes on where it stopped.
    """

    is_pause_wanted: bool = False
    num_layers_done: int = 0
    paused: object = None  # what the runner needs to go on; None unless the step is paused
    ran_s: float = 0.0  # before it was last paused


class Runner(Protocol):
    """Owns the KV pool of one worker and computes batches on it, one at a time."""

    @property
    def kv(self) -> KvMemory:
        """The pool and its layout."""
        ...

    @property
    def embeddings(self) -> KvMemory | None:
        """The pool of images' embeddings, filled by encoders; None: the model takes no images."""
        ...

    @property
    def info(self) -> ModelInfo:
        """The model: its end tokens, context length and revision."""
        ...

    async def execute(
        self, batch: Batch, on_layers_done: LayersDone | None = None, gate: LayerGate | None = None
    ) -> StepOutput:
        """Run every scheduled token; sample for the items that reach their last token. Raises on device failure.

        With a gate the step may stop between two layers: then the output is without tokens.
        """
        ...

    def close(self) -> None:
        """Stop threads and free the pool."""
        ...
