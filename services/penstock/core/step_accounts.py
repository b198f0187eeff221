"""What a worker's steps have done and cost, and whose service they were."""

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from penstock.core.measured_costs import MeasuredCosts
from penstock.core.policies.fairness import TenantCounters, decode_pte, prefill_pte
from penstock.core.step import Step
from penstock.core.types import ScheduledSequence, Sequence

# PTE of one generated token, per token of its context: models of 8B to 30B parameters on an H100 have .003 to .006
_DECODE_WEIGHT = 0.005


@dataclass(slots=True)
class EngineTotals:
    """What a worker's steps have done since it began."""

    num_steps: int = 0
    num_prompt_tokens: int = 0  # computed, not those found in the prefix cache
    num_sampled_tokens: int = 0
    num_looked_up_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0  # sequences that gave their blocks back
    num_yields: int = 0  # prompts that were paused between two layers
    busy_s: float = 0.0


class StepAccounts:
    """Counts, costs and bills of one worker."""

    def __init__(self) -> None:
        self.totals = EngineTotals()
        self.costs = MeasuredCosts()
        self.tenants = TenantCounters()
        self._last_decode_s: float | None = None
        self._present: set[str] = set()  # tenants that had work here when last looked at
        self._is_shared = False

    def idle(self) -> None:
        """Nothing runs: the time until the next step is no interval between tokens."""
        self._last_decode_s = None

    def start(self, sequence: Sequence) -> None:
        """A prompt is in a step for the first time."""
        self.totals.num_looked_up_tokens += sequence.num_tokens
        self.totals.num_cached_tokens += sequence.num_cached_tokens

    def see_tenants(self, present: Iterable[Sequence]) -> bool:
        """Whether there is anybody to be fair to: more than one tenant has work here. Only then is anybody billed."""
        names = {sequence.request.tenant for sequence in present}
        self._is_shared = len(names) > 1
        if self._is_shared:
            for name in sorted(names - self._present):
                self.tenants.arrive(name, self._present)
        self._present = names
        return self._is_shared

    def enter(self, step: Step, duration_s: float, ended_s: float) -> None:
        """A step has run."""
        items = step.ending
        num_tokens = sum(item.num_tokens for item in items)
        is_sampled = [item.is_sampled for item in items]
        num_decodes = sum(item.num_tokens == 1 and sampled for item, sampled in zip(items, is_sampled, strict=True))
        self.totals.num_prompt_tokens += num_tokens - num_decodes
        self.totals.busy_s += duration_s
        if step.cohort:
            self.costs.add_prefill(step.num_whole_tokens, duration_s)
        elif num_decodes < len(items):
            self.costs.add_prefill(num_tokens, duration_s)
        elif items:
            self.costs.add_decode_step(num_decodes, duration_s)
        if not num_decodes:
            self._last_decode_s = None
        self.enter_decodes([ended_s], sum(is_sampled))
        if not num_decodes:
            self._last_decode_s = None
        if self._is_shared:
            self._bill(items)

    def enter_decodes(self, times_s: SequenceOf[float], num_sampled: int) -> None:
        """Steps ended at `times_s`, each of which sampled so many tokens."""
        for time_s in times_s:
            if self._last_decode_s is not None:
                self.costs.add_decode(time_s - self._last_decode_s)
            self._last_decode_s = time_s
        self.totals.num_steps += len(times_s)
        self.totals.num_sampled_tokens += num_sampled * len(times_s)

    def _bill(self, items: Iterable[ScheduledSequence]) -> None:
        for item in items:
            pte = prefill_pte(item.num_tokens) if item.num_tokens > 1 else decode_pte(item.end, 1, _DECODE_WEIGHT)
            self.tenants.charge(item.sequence.request.tenant, pte)
