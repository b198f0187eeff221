"""Which layers the next step runs for its prompts: all decodes pass every layer, prompts only one group of them.

Layered Prefill (arXiv 2510.08055). A chunk of tokens makes a mixture-of-experts model load nearly all experts of every
layer, once per chunk. A group of layers loads each expert once per prompt:

    G(n) = max(1, ceil(n / 512))        groups for a cohort of n prompt tokens: a 512-token chunk's work per step
    layers are split evenly into G contiguous groups; step t runs group t for the cohort and every layer for decodes

    waiting --form_cohort--> cohort --next_layers, G times--> all layers done: first tokens are sampled

Prompts that wait together form one cohort; the next one starts when it is done. Without decodes there is nobody to
spare, and on a dense model layers cost what chunks cost but hold the cohort's activations: both run undivided
(`is_worth_layering`). The paper's own code is AGPL; this is written from the published description.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from penstock.core.types import ScheduledSequence, Sequence


@dataclass(frozen=True, slots=True)
class LayeringLimits:
    """Longer cohorts than `max_cohort_tokens` are cut into chunks of tokens besides."""

    tokens_per_group: int = 512
    max_groups: int = 16
    max_cohort_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class Cohort:
    """Prompts that go through the layers together. Their hidden states wait at the end of group `num_groups_done`."""

    items: tuple[ScheduledSequence, ...]
    groups: tuple[range, ...]
    num_groups_done: int = 0

    @property
    def num_tokens(self) -> int:
        return sum(item.num_tokens for item in self.items)

    @property
    def is_done(self) -> bool:
        return self.num_groups_done == len(self.groups)


def num_layer_groups(num_tokens: int, num_layers: int, limits: LayeringLimits) -> int:
    """G(n), at most one group per layer."""
    wanted = max(1, -(-num_tokens // limits.tokens_per_group))
    return min(wanted, limits.max_groups, num_layers)


def split_layers(num_layers: int, num_groups: int) -> tuple[range, ...]:
    """Contiguous groups whose sizes differ by at most one, larger ones first."""
    size, num_larger = divmod(num_layers, num_groups)
    starts = [index * size + min(index, num_larger) for index in range(num_groups + 1)]
    return tuple(range(begin, end) for begin, end in pairwise(starts))


def is_worth_layering(num_experts: int, num_decodes: int, num_tokens: int, limits: LayeringLimits) -> bool:
    """Whether to divide a cohort at all: experts to save, streams to spare, and more than one group's work."""
    return num_experts > 1 and num_decodes > 0 and num_tokens > limits.tokens_per_group


def form_cohort(
    prompts: Iterable[Sequence], num_places: int, num_layers: int, limits: LayeringLimits, *, is_layered: bool = True
) -> Cohort | None:
    """The next cohort: prompts in the order given, those under way first, while tokens and places last.

    Every prompt needs its blocks before it is given here. The last one may be cut short at `max_cohort_tokens`; what is
    left of it belongs to a later cohort. None when there is nothing to run.
    """
    items: list[ScheduledSequence] = []
    num_tokens = 0
    for sequence in prompts:
        if len(items) == num_places or num_tokens == limits.max_cohort_tokens:
            break
        chunk = min(sequence.num_runnable_tokens, limits.max_cohort_tokens - num_tokens)
        items.append(ScheduledSequence(sequence, sequence.num_computed_tokens, chunk))
        num_tokens += chunk
    if not items:
        return None
    num_groups = num_layer_groups(num_tokens, num_layers, limits) if is_layered else 1
    return Cohort(tuple(items), split_layers(num_layers, num_groups))


def next_layers(cohort: Cohort, slack_s: float = 0.0, group_s: float = float("inf")) -> tuple[range, Cohort]:
    """The layers the cohort passes in the next step, and the cohort after it.

    One group, as published; more when each takes `group_s` beside the decodes and several fit into `slack_s`, what
    the step's token interval objective leaves over its decodes.
    """
    assert not cohort.is_done, "the cohort has passed all layers"
    num_left = len(cohort.groups) - cohort.num_groups_done
    num_fitting = num_left if group_s <= 0 else int(min(num_left, slack_s / group_s))
    done = cohort.num_groups_done + max(1, num_fitting)
    layers = range(cohort.groups[cohort.num_groups_done].start, cohort.groups[done - 1].stop)
    return layers, replace(cohort, num_groups_done=done)
