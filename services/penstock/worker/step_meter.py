"""What each step of a worker ran and how long it took, counted between the loop and the engine."""

from collections.abc import Iterator

from penstock.core.histogram import Histogram
from penstock.core.types import Batch, ModelInfo, StepOutput
from penstock.engine.runner import LayerGate, LayersDone, Runner
from penstock.transfer.memory import KvMemory

STEP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
KINDS = ("prefill", "decode", "mixed")


class StepMeter:
    """A Runner that counts what another one runs."""

    def __init__(self, runner: Runner) -> None:
        self.sequences = Histogram(BATCH_BUCKETS)  # per step
        self.tokens = Histogram(BATCH_BUCKETS)  # per step
        self.step_s = {kind: Histogram(STEP_BUCKETS_S) for kind in KINDS}
        self._runner = runner

    @property
    def kv(self) -> KvMemory:
        return self._runner.kv

    @property
    def embeddings(self) -> KvMemory | None:
        return self._runner.embeddings

    @property
    def info(self) -> ModelInfo:
        return self._runner.info

    async def execute(
        self, batch: Batch, on_layers_done: LayersDone | None = None, gate: LayerGate | None = None
    ) -> StepOutput:
        output = await self._runner.execute(batch, on_layers_done, gate)
        if gate is not None and gate.paused is not None:
            gate.ran_s += output.duration_s
            return output  # it counts once, when it ends
        num_sequences, num_decodes = len(batch.items), batch.num_decodes
        self.sequences.observe(num_sequences)
        self.tokens.observe(batch.num_tokens)
        kind = "decode" if num_decodes == num_sequences else "mixed" if num_decodes else "prefill"
        self.step_s[kind].observe(output.duration_s + (gate.ran_s if gate is not None else 0.0))
        return output

    def close(self) -> None:
        self._runner.close()

    def steps_by_kind(self) -> Iterator[tuple[tuple[str, ...], Histogram]]:
        yield from (((kind,), steps) for kind, steps in self.step_s.items())
