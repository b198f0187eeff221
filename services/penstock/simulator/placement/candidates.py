"""Every layout worth a simulation, with the most it could serve.

Two families: co-located (mixed workers, each step's token budget a choice) and disaggregated (a parallelism for each
role, workers shared out by rate balance). What cannot meet the objectives for a single request alone is left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil

from penstock.core.types import Role
from penstock.simulator.placement.layout import Layout, Parallelism, PoolChoice
from penstock.simulator.placement.parallel_costs import ParallelCosts, parallelisms
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.worker_rates import STEP_TOKENS, WorkerRates, mixed_worker_rate, worker_rates

CHUNKS = (512, 2048)  # tokens of a mixed worker's step
_MAX_SEQUENCES = 1024
_SPARE_SEQUENCES = 1.25  # TPOT is a request's mean: a step may hold more than would do for ever
_NEARLY_BEST = 0.88  # within that share of the best split, the one with the smallest unit is simulated


@dataclass(frozen=True, slots=True)
class Candidate:
    """`bound` is requests/s that the whole layout could serve if nothing ever queued; `guess` allows for queues."""

    layout: Layout
    bound: float
    guess: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many parallelisms of a role were left out, and why."""

    num_without_memory: int
    num_too_slow_to_prefill: int
    num_too_slow_to_decode: int


@dataclass(frozen=True, slots=True)
class Field:
    """All that may be simulated, best guess first."""

    colocated: tuple[Candidate, ...]
    disaggregated: tuple[Candidate, ...]
    pruned: Pruned


def candidates(question: Question) -> Field:
    """Everything worth a simulation."""
    costs = ParallelCosts(question.cost)
    options = {
        parallelism: worker_rates(costs.at(parallelism), question.traffic, question.slo, question.step_overhead_s)
        for parallelism in _parallelisms(question)
    }
    fitting = {parallelism: rates for parallelism, rates in options.items() if rates.prefill_rate}
    prefill = {chosen: rates for chosen, rates in fitting.items() if rates.ttft_share >= question.goal}
    decode = {
        chosen: rates for chosen, rates in fitting.items() if rates.tpot_share >= question.goal and rates.max_decodes
    }
    pruned = Pruned(len(options) - len(fitting), len(fitting) - len(prefill), len(fitting) - len(decode))
    both = {chosen: rates for chosen, rates in prefill.items() if chosen in decode}
    return Field(
        _best_first(_colocated(question, _undominated(both, _for_prefill, _for_decode))),
        _best_first(_disaggregated(question, _undominated(prefill, _for_prefill), _undominated(decode, _for_decode))),
        pruned,
    )


def _parallelisms(question: Question) -> list[Parallelism]:
    """What was measured on one worker says nothing of others that are spread differently."""
    if question.cost.kind == "profile":
        return [Parallelism()]
    return parallelisms(question.cost.shape, question.num_gpus)


def _for_prefill(rates: WorkerRates) -> tuple[float, ...]:
    return rates.prefill_rate, rates.spare_ttft_s


def _for_decode(rates: WorkerRates) -> tuple[float, ...]:
    return rates.decode_rate, rates.tpot_share


def _undominated(
    options: dict[Parallelism, WorkerRates], *merits: Callable[[WorkerRates], tuple[float, ...]]
) -> dict[Parallelism, WorkerRates]:
    """Without those that another one on as many GPUs equals or beats in every respect; equals stay."""
    kept: dict[Parallelism, WorkerRates] = {}
    for chosen, rates in options.items():
        mine = [value for merit in merits for value in merit(rates)]
        others = [
            [value for merit in merits for value in merit(other_rates)]
            for other, other_rates in options.items()
            if other.num_gpus == chosen.num_gpus and other != chosen
        ]
        is_beaten = any(
            all(theirs >= own for theirs, own in zip(other, mine, strict=True)) and other != mine for other in others
        )
        if not is_beaten:
            kept[chosen] = rates
    return kept


def _best_first(found: Iterator[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(found, key=lambda candidate: (-candidate.guess, candidate.layout.num_gpus)))


def _colocated(question: Question, options: dict[Parallelism, WorkerRates]) -> Iterator[Candidate]:
    for (parallelism, rates), chunk in product(options.items(), CHUNKS):
        count = question.num_gpus // parallelism.num_gpus
        rate = mixed_worker_rate(rates, question.traffic, question.slo, question.step_overhead_s, chunk)
        if rate:
            guess = min(count * rate, rates.queued_rate(count))
            yield Candidate(Layout((_pool(Role.MIXED, count, parallelism, rates, chunk),)), count * rate, guess)


def _disaggregated(
    question: Question, prefill: dict[Parallelism, WorkerRates], decode: dict[Parallelism, WorkerRates]
) -> Iterator[Candidate]:
    for (of_prefill, prefill_rates), (of_decode, decode_rates) in product(prefill.items(), decode.items()):
        layout = Layout(
            (
                _pool(Role.PREFILL, 1, of_prefill, prefill_rates, STEP_TOKENS),
                _pool(Role.DECODE, 1, of_decode, decode_rates, STEP_TOKENS),
            )
        )
        best = splits(layout, question.num_gpus, prefill_rates, decode_rates)
        if best:
            yield best[0]


def splits(layout: Layout, num_gpus: int, prefill: WorkerRates, decode: WorkerRates) -> list[Candidate]:
    """Ways to share `num_gpus` out over the two pools, by rate balance: max of min(n_p q_p, n_d q_d).

    First among the nearly best is the one of the smallest unit, which is the cheapest to simulate.
    """
    of_prefill, of_decode = (pool.parallelism.num_gpus for pool in layout.pools)
    found = [
        _split(layout, (num_prefill, num_decode), prefill, decode)
        for num_prefill in range(1, num_gpus // of_prefill + 1)
        for num_decode in range(1, (num_gpus - num_prefill * of_prefill) // of_decode + 1)
    ]
    most = max((candidate.guess for candidate in found), default=0.0)
    nearly = [candidate for candidate in found if candidate.guess >= _NEARLY_BEST * most > 0]
    return sorted(nearly, key=lambda candidate: (candidate.layout.unit().num_gpus, -candidate.guess))


def _split(layout: Layout, counts: tuple[int, int], prefill: WorkerRates, decode: WorkerRates) -> Candidate:
    num_prefill, num_decode = counts
    decoded = num_decode * decode.decode_rate
    bound = min(num_prefill * prefill.prefill_rate, decoded)
    return Candidate(layout.with_counts(counts), bound, min(prefill.queued_rate(num_prefill), decoded))


def _pool(role: Role, count: int, parallelism: Parallelism, rates: WorkerRates, max_step_tokens: int) -> PoolChoice:
    """Limits follow from what holds the objectives; a prefill worker's sequences are prompts under way."""
    num_sequences = 128 if role is Role.PREFILL else ceil(_SPARE_SEQUENCES * rates.max_decodes)
    return PoolChoice(
        role, count, parallelism, rates.spec, max_step_tokens, min(_MAX_SEQUENCES, num_sequences), rates.num_kv_tokens
    )
