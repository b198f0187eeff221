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

from bisect import bisect_right
from dataclasses import dataclass

from penstock.core.step_cost import StepSeconds
from penstock.core.types import Role


@dataclass(frozen=True, slots=True)
class MeanRequest:
    """The workload, by its means."""

    num_prompt_tokens: int
    num_output_tokens: int

    @property
    def num_context_tokens(self) -> int:
        """Halfway through its answer."""
        return self.num_prompt_tokens + self.num_output_tokens // 2


def prefill_rate(request: MeanRequest, cost: StepSeconds, batch: int = 1) -> float:
    """q_prefill: requests per second of one worker that runs `batch` prompts per step."""
    return batch / cost.step_s([(0, request.num_prompt_tokens)] * batch)


def decode_batch(request: MeanRequest, cost: StepSeconds, tpot_slo_s: float, num_kv_tokens: int) -> int:
    """b_d: most sequences of mean context that hold the objective and fit in a memory of `num_kv_tokens`."""
    num_context_tokens = request.num_context_tokens
    batches = range(1, num_kv_tokens // max(1, num_context_tokens) + 1)
    return bisect_right(batches, tpot_slo_s, key=lambda batch: cost.decode_s(batch, batch * num_context_tokens))


def decode_rate(request: MeanRequest, cost: StepSeconds, batch: int) -> float:
    """q_decode: requests per second of one worker that decodes `batch` at a time; the first token is prefill's."""
    if batch <= 0:
        return 0.0
    if request.num_output_tokens <= 1:
        return float("inf")
    num_context_tokens = batch * request.num_context_tokens
    return batch / ((request.num_output_tokens - 1) * cost.decode_s(batch, num_context_tokens))


def mixed_rate(request: MeanRequest, cost: StepSeconds, tpot_slo_s: float, num_kv_tokens: int, chunk: int) -> float:
    """q_mixed: requests per second of one worker that does both, in steps of at most `chunk` tokens of both kinds.

    In balance a step runs prompt tokens and decodes as L_in to L_out - 1; it takes as many as the objective, memory and
    `chunk` allow, for the more tokens share a step the less each costs.
    """
    num_in, num_decodes_each = request.num_prompt_tokens, max(0, request.num_output_tokens - 1)
    max_decodes = num_kv_tokens / request.num_context_tokens
    num_new = int(chunk * num_in / (num_in + num_decodes_each))
    if num_decodes_each:
        num_new = min(num_new, int(max_decodes * num_in / num_decodes_each))

    def step_s(num_new: int) -> float:
        num_decodes = round(num_new * num_decodes_each / num_in)
        num_computed = max(0, num_in - num_new) // 2  # of an average chunk
        return cost.step_s([(num_computed, num_new)], num_decodes, num_decodes * request.num_context_tokens)

    num_new = bisect_right(range(1, num_new + 1), tpot_slo_s, key=step_s)
    return num_new / (num_in * step_s(num_new)) if num_new else 0.0


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
