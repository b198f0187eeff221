"""What one worker could serve at best: the warm start of the search, and what it prunes with.

P/D-Serve's rates (`policies.role_ratio`) by the workload's means, and whether single requests, alone on the worker,
hold their objectives at all: queues only add to that. So nothing is simulated that could not meet them unloaded.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import log

from penstock.core.policies.role_ratio import decode_batch, decode_rate, mixed_rate, prefill_rate
from penstock.core.step_cost import StepSeconds
from penstock.core.timeline import Slo, percentile
from penstock.simulator.cost_model import CostModel, CostSpec, build_cost_model
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.workload import RequestSpec

_MESSAGES_S = 0.002  # route, offer and first token: four one-way messages
STEP_TOKENS = 8192  # of a worker that does not mix: prompts of mean length that a busy one runs together
_MAX_SAMPLE = 1000  # requests that are timed alone


@dataclass(frozen=True, slots=True)
class _WithOverhead:
    """A cost model and the engine's own time around each step."""

    cost: StepSeconds
    overhead_s: float

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        return self.overhead_s + self.cost.step_s(chunks, num_decodes, num_context_tokens)

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        return self.overhead_s + self.cost.decode_s(num_sequences, num_context_tokens)


@dataclass(frozen=True, slots=True)
class WorkerRates:
    """Of one worker of some parallelism. Rates are requests/s; shares are of requests, each alone on the worker."""

    spec: CostSpec
    num_kv_tokens: int
    prefill_rate: float
    decode_rate: float
    max_decodes: int  # that hold TPOT at mean context, and fit
    ttft_share: float  # hold their TTFT
    tpot_share: float  # hold their TPOT
    spare_ttft_s: float  # what the objective leaves for queueing, when all but a tenth of the requests are to hold it

    def queued_rate(self, count: int) -> float:
        """Requests/s that `count` of these can prefill before queues use up what TTFT has to spare: a guess.

        M/D/1 (DistServe, section 3.1) waits D rho / (2 (1 - rho)) on average, `count` servers about 1 / count of it,
        and one request in ten, were waits exponential, ln 10 times as long.
        """
        if self.spare_ttft_s <= 0 or not self.prefill_rate:
            return 0.0
        relative = 2 * self.spare_ttft_s * count * self.prefill_rate / log(10)
        return count * self.prefill_rate * relative / (1 + relative)


def worker_rates(spec: CostSpec, traffic: Traffic, slo: Slo, overhead_s: float) -> WorkerRates:
    """Rates of one worker; all zero when the model or the longest request does not fit."""
    num_kv_tokens = spec.shape.num_kv_tokens(spec.hardware, spec.num_gpus)
    if num_kv_tokens < traffic.longest_tokens:
        return WorkerRates(spec, num_kv_tokens, 0.0, 0.0, 0, 0.0, 0.0, 0.0)
    cost = _WithOverhead(build_cost_model(spec), overhead_s)
    max_decodes = decode_batch(traffic.mean, cost, slo.tpot_s, num_kv_tokens)
    sample = traffic.requests[:_MAX_SAMPLE]
    ttfts_s = sorted(_ttft_s(cost, request) for request in sample)
    return WorkerRates(
        spec=spec,
        num_kv_tokens=num_kv_tokens,
        prefill_rate=prefill_rate(traffic.mean, cost, max(1, STEP_TOKENS // traffic.mean.num_prompt_tokens)),
        decode_rate=decode_rate(traffic.mean, cost, max_decodes),
        max_decodes=max_decodes,
        ttft_share=bisect_right(ttfts_s, slo.ttft_s) / len(sample),
        tpot_share=sum(_tpot_s(cost, request) <= slo.tpot_s for request in sample) / len(sample),
        spare_ttft_s=slo.ttft_s - percentile(ttfts_s, 0.9),
    )


def mixed_worker_rate(rates: WorkerRates, traffic: Traffic, slo: Slo, overhead_s: float, chunk: int) -> float:
    """Requests/s of one worker that does both in steps of at most `chunk` tokens."""
    cost = _WithOverhead(build_cost_model(rates.spec), overhead_s)
    return mixed_rate(traffic.mean, cost, slo.tpot_s, rates.num_kv_tokens, chunk)


def _ttft_s(cost: CostModel, request: RequestSpec) -> float:
    return _MESSAGES_S + cost.step_s([(0, request.num_prompt_tokens)])


def _tpot_s(cost: CostModel, request: RequestSpec) -> float:
    return cost.decode_s(1, request.num_prompt_tokens + request.num_output_tokens // 2)
