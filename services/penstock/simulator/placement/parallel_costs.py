"""What a model costs at every parallelism: measured where it was, otherwise a roofline brought in line with what was.

Fits exist for some (GPU, model, TP) only. Beside a fit, a plain roofline would decide between parallelisms by the gap
between two methods. So its achievable shares of compute and of bandwidth are set to what makes it meet the nearest fit,
at a prompt of 2048 tokens and at 32 sequences of 1024.
"""

from dataclasses import dataclass, replace

from penstock.core.errors import InvalidSettings
from penstock.simulator.cost_model import CostSpec, build_cost_model
from penstock.simulator.fitted_costs import find_fitted
from penstock.simulator.hardware import Gpu, ModelShape
from penstock.simulator.placement.layout import Parallelism
from penstock.simulator.roofline import Roofline

MAX_TENSOR = 8  # GPUs with fast links to each other
_PROMPT_TOKENS, _BATCH, _CONTEXT_TOKENS = 2048, 32, 1024


@dataclass(frozen=True, slots=True)
class ParallelCosts:
    """`base` names the GPU, the model, and perhaps an engine or a folder of operator tables."""

    base: CostSpec

    def at(self, parallelism: Parallelism) -> CostSpec:
        """The cost model of one worker of that parallelism."""
        spec = replace(self.base, tp=parallelism.tensor, pp=parallelism.pipeline)
        if self.base.kind != "fitted" or self._has_fit(parallelism.tensor):
            return spec
        return replace(spec, kind="roofline", engine="", gpu_peaks=self._aligned(parallelism.tensor))

    def _has_fit(self, tensor: int) -> bool:
        if self.base.gpu_peaks or self.base.model_shape:
            return False
        try:
            find_fitted(self.base.gpu, self.base.model, tensor, self.base.engine)
        except InvalidSettings:
            return False
        return True

    def _aligned(self, tensor: int) -> Gpu | None:
        fitted = [other for other in range(1, MAX_TENSOR + 1) if self._has_fit(other)]
        if not fitted:
            return self.base.gpu_peaks
        nearest = min(fitted, key=lambda other: max(other / tensor, tensor / other))
        return align(self.base.hardware, self.base.shape, replace(self.base, tp=nearest))


def align(gpu: Gpu, shape: ModelShape, measured: CostSpec) -> Gpu:
    """`gpu` with the shares at which a roofline takes as long as `measured` does.

    Two rounds of a fixed point: each share moves one of the two times almost alone.
    """
    fit = build_cost_model(measured)
    num_context = _BATCH * _CONTEXT_TOKENS
    for _ in range(2):
        roofline = Roofline(shape, gpu, measured.tp)
        prefill = roofline.step_s([(0, _PROMPT_TOKENS)]) / fit.step_s([(0, _PROMPT_TOKENS)])
        decode = roofline.decode_s(_BATCH, num_context) / fit.decode_s(_BATCH, num_context)
        gpu = replace(
            gpu, flops_share=min(1.0, gpu.flops_share * prefill), bandwidth_share=min(1.0, gpu.bandwidth_share * decode)
        )
    return gpu


def parallelisms(shape: ModelShape, num_gpus: int) -> list[Parallelism]:
    """Every way to spread one worker: TP divides the heads, PP the layers, powers of two, within one node of eight."""
    sizes = [size for size in (1, 2, 4, 8) if size <= num_gpus]
    return [
        Parallelism(tensor, pipeline)
        for tensor in sizes
        for pipeline in (size for size in sizes if size <= 4)
        if tensor * pipeline <= min(num_gpus, MAX_TENSOR)
        and shape.num_heads % tensor == 0
        and shape.num_layers % pipeline == 0
    ]
