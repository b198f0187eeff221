"""How many workers each role should have: P/D-Serve's rate balance, and its online signal.

P/D-Serve (arXiv 2408.08147; its full text was not to be had) minimises the mismatch between the stages' capabilities.
The rates are those of Huawei's published sizing procedure:

    q_prefill = b_p / T_prefill(b_p, L_in)                                [requests/s of one worker]
    q_decode  = b_d / ((L_out - 1) * TPOT(b_d))
    b_d       = most sequences with TPOT(b_d) <= objective, and with KV of b_d * (L_in + L_out / 2) tokens in memory
    n_p : n_d = q_decode : q_prefill,   that is, maximise  min over roles of n_i * q_i   (`core.rate_balance`)

Online the signal is the share of TTFT in the end-to-end latency: it rises when prefill is short, falls when decode is.
The paper's threshold is not known; `share_signal` compares with the share the plan predicts.
"""

from dataclasses import dataclass

from penstock.core.step_cost import StepCost
from penstock.core.types import Role


@dataclass(frozen=True, slots=True)
class MeanRequest:
    """The workload, by its means."""

    num_prompt_tokens: int
    num_output_tokens: int


def prefill_rate(request: MeanRequest, cost: StepCost, batch: int = 1) -> float:
    """q_prefill: requests per second of one worker that runs `batch` prompts per step."""
    return batch / cost.step_s([(0, request.num_prompt_tokens)] * batch)


def decode_batch(request: MeanRequest, cost: StepCost, tpot_slo_s: float, num_kv_tokens: int) -> int:
    """b_d: most sequences of mean context that hold the objective and fit in a memory of `num_kv_tokens`."""
    num_context_tokens = request.num_prompt_tokens + request.num_output_tokens // 2
    return min(cost.max_decodes(num_context_tokens, tpot_slo_s), num_kv_tokens // max(1, num_context_tokens))


def decode_rate(request: MeanRequest, cost: StepCost, batch: int) -> float:
    """q_decode: requests per second of one worker that decodes `batch` at a time; the first token is prefill's."""
    if batch <= 0:
        return 0.0
    if request.num_output_tokens <= 1:
        return float("inf")
    num_context_tokens = batch * (request.num_prompt_tokens + request.num_output_tokens // 2)
    return batch / ((request.num_output_tokens - 1) * cost.decode_s(batch, num_context_tokens))


def share_signal(mean_ttft_s: float, mean_e2e_s: float, target_share: float, tolerance: float = 0.2) -> Role | None:
    """The role that is short of workers, by TTFT / E2E against its target; None within `tolerance` of it."""
    if mean_e2e_s <= 0:
        return None
    share = mean_ttft_s / mean_e2e_s
    if share > target_share * (1 + tolerance):
        return Role.PREFILL
    if share < target_share * (1 - tolerance):
        return Role.DECODE
    return None
