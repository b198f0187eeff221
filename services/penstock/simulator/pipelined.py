"""What a step takes on a worker whose layers lie on several GPUs in a row: pipeline parallelism.

    prefill, pp = 2   stage 0   [chunk 0][chunk 1]              the step's tokens in pp equal chunks (chunked pipeline,
                      stage 1           [chunk 0][chunk 1]      as in Mooncake, FAST'25); it ends when the last leaves
                                                                the last stage, and only then does the next step begin
    decode            the batch in pp equal parts, one in each stage: all have their token when the slowest has passed

So decode gains throughput and no latency: T(batch) = T_1(batch / pp), T_1 being all layers in turn. DistServe's
simulator, and others, divide every time by pp, which leaves out the filling and draining of the pipeline.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.core.step_cost import StepSeconds

_HOP_S = 1e-4  # activations to the next stage over NVLink, and the launch there; DistServe's simulator has 1 ms


@dataclass(frozen=True, slots=True)
class Pipelined:
    """A CostModel of `num_stages` stages; `whole` is that of all layers in turn."""

    whole: StepSeconds
    num_stages: int

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """See CostModel."""
        stages = self.num_stages
        parts: list[list[tuple[int, int]]] = [[] for _ in range(stages)]
        for num_computed, num_new in chunks:
            bounds = [num_computed + num_new * index // stages for index in range(stages + 1)]
            for part, begin, end in zip(parts, bounds, bounds[1:], strict=False):
                part.append((begin, end - begin))
        stage_times_s = [
            self.whole.step_s(part, -(-num_decodes // stages), num_context_tokens // stages) / stages for part in parts
        ]
        return sum(stage_times_s) + (stages - 1) * (stage_times_s[-1] + _HOP_S)

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """See CostModel."""
        each = -(-num_sequences // self.num_stages)
        return self.whole.decode_s(each, num_context_tokens // self.num_stages) + self.num_stages * _HOP_S
