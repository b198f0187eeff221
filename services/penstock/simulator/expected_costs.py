"""What a worker's policies expect its steps to cost: the fitted form, laid through a few points of its cost model.

A live worker measures its steps instead (`core.measured_costs`); a simulated one knows what it would have measured.
"""

from penstock.core.step_cost import StepCost
from penstock.simulator.cost_model import CostModel

_SHORT, _MIDDLE, _LONG = 256, 2048, 8192  # prompt tokens
_NUM_DECODES, _CONTEXT = 64, 1024


def expected_costs(cost: CostModel, overhead_s: float = 0.0) -> StepCost:
    """`overhead_s` is what the engine adds to every step."""
    short_s, middle_s, long_s = (cost.step_s([(0, num_tokens)]) for num_tokens in (_SHORT, _MIDDLE, _LONG))
    early = (middle_s - short_s) / (_MIDDLE - _SHORT)
    late = (long_s - middle_s) / (_LONG - _MIDDLE)
    per_token2 = max(0.0, (late - early) / (_LONG - _SHORT))
    per_token = max(0.0, early - per_token2 * (_SHORT + _MIDDLE))
    base_s = max(0.0, middle_s - per_token * _MIDDLE - per_token2 * _MIDDLE**2)
    one_s = cost.decode_s(1, _CONTEXT)
    many_s = cost.decode_s(_NUM_DECODES, _NUM_DECODES * _CONTEXT)
    wide_s = cost.decode_s(_NUM_DECODES, 2 * _NUM_DECODES * _CONTEXT)
    per_context = max(0.0, (wide_s - many_s) / (_NUM_DECODES * _CONTEXT))
    per_sequence = max(0.0, (many_s - one_s) / (_NUM_DECODES - 1) - per_context * _CONTEXT)
    decode_base_s = max(0.0, one_s - per_context * _CONTEXT - per_sequence)
    return StepCost(base_s + overhead_s, per_token, per_token2, decode_base_s + overhead_s, per_context, per_sequence)
