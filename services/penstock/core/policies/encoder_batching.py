"""Which waiting images the next encoder step takes, and how much encoding fits beside a language step.

EPD's encoder batch (arXiv 2501.05460, `scheduler_encoding.py`): first come, first served, until the first that breaks

    num_images <= max_images    and    tokens(batch) + tokens(held) <= capacity

where held are embeddings made but not yet taken by a prefill worker: a slow prefill stage stops its encoders rather
than flooding their memory. On workers that encode beside language work, xLLM's stage order (arXiv 2510.14686, section
3.4) applies: decodes first, then prompts under way, and only when none is under way, new images, within what the token
interval objective leaves:

    patches <= (TPOT_SLO - T_step - base) / s_per_patch
"""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.core.encode_cost import EncodeCost


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """One image, or one shard's worth of images. `num_tokens` is how many embeddings come of it."""

    request_id: str
    num_patches: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class EncodeLimits:
    """`capacity_tokens` of embeddings fit into the embedding cache."""

    max_images: int = 16
    capacity_tokens: int = 65536
    max_patches: int = 1 << 20


def choose_batch(waiting: Iterable[EncodeJob], num_held_tokens: int, limits: EncodeLimits) -> tuple[EncodeJob, ...]:
    """The images of the next step, in the order given. One that is too large for any batch runs alone."""
    batch: list[EncodeJob] = []
    num_tokens, num_patches = num_held_tokens, 0
    for job in waiting:
        num_tokens += job.num_tokens
        num_patches += job.num_patches
        if len(batch) == limits.max_images:
            break
        if num_tokens > limits.capacity_tokens and (batch or num_held_tokens):
            break
        if batch and num_patches > limits.max_patches:
            break
        batch.append(job)
    return tuple(batch)


def patches_beside_step(step_s: float, tpot_slo_s: float, num_unfinished_prompts: int, cost: EncodeCost) -> int:
    """Most patches a language worker may encode in a step whose own work takes `step_s`."""
    return 0 if num_unfinished_prompts else cost.max_patches(tpot_slo_s - step_s)
