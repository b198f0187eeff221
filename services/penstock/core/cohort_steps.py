"""Steps in which prompts pass one group of layers while decodes pass them all (`policies.layered_prefill`)."""

from penstock.core.policies.batching import num_new_blocks
from penstock.core.policies.layered_prefill import (
    Cohort,
    form_cohort,
    is_worth_layering,
    next_layers,
)
from penstock.core.schedule import Batching, Schedule
from penstock.core.step import Items, Step
from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence


class CohortSteps:
    """Remembers the cohort of prompts that is between two layers, if there is one."""

    def __init__(self, schedule: Schedule, block_size: int) -> None:
        self._schedule = schedule
        self._block_size = block_size
        self._cohort: Cohort | None = None

    @property
    def is_under_way(self) -> bool:
        return self._cohort is not None

    def form(self, prompts: list[Sequence], num_decodes: int, num_running: int) -> bool:
        """Whether these prompts go through the layers in groups now: as published always, adaptive where it pays."""
        batching, limits, depth = self._schedule.batching, self._schedule.layering, self._schedule.depth
        if batching not in (Batching.LAYERED, Batching.ADAPTIVE):
            return False
        prompts = [
            sequence for sequence in prompts if not num_new_blocks(sequence, sequence.num_tokens, self._block_size)
        ]
        num_places = self._schedule.limits.max_sequences - num_running
        num_tokens = min(sum(sequence.num_tokens_to_run for sequence in prompts), limits.max_cohort_tokens)
        is_worth = is_worth_layering(depth.num_experts, num_decodes, num_tokens, limits)
        if batching is Batching.ADAPTIVE and not is_worth:
            return False
        self._cohort = form_cohort(prompts, num_places, depth.num_layers, limits)
        return self._cohort is not None

    def next_step(self, decodes: Items, cost: StepCost) -> Step:
        """The cohort passes its next group beside these decodes, or more groups when the objective leaves room."""
        cohort = self._cohort
        assert cohort is not None, "a cohort is under way"
        slack_s = group_s = 0.0
        if decodes and self._schedule.tpot_slo_s < float("inf"):
            chunks = [(item.start, item.num_tokens) for item in cohort.items]
            num_context = sum(item.end for item in decodes)
            decode_s = cost.decode_s(len(decodes), num_context)
            group_s = (cost.step_s(chunks, len(decodes), num_context) - decode_s) / len(cohort.groups)
            slack_s = self._schedule.tpot_slo_s - decode_s
        layers, after = next_layers(cohort, slack_s, group_s or float("inf"))
        if not decodes and self._schedule.batching is Batching.ADAPTIVE:  # nobody to spare any more
            layers, after = next_layers(cohort, float("inf"), 1.0)
        self._cohort = after
        return Step(
            decodes,
            cohort.items,
            layers,
            layers_share=len(layers) / self._schedule.depth.num_layers,
            is_first=cohort.num_groups_done == 0,
            is_last=after.is_done,
        )

    def passed(self, step: Step) -> None:
        """A step has run: a cohort that is through is forgotten."""
        if step.cohort and step.is_last:
            self._cohort = None
