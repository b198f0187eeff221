"""What comes in at the gateway's door: requests as their lengths, their times and what they share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from penstock.core.blocks import HASH_BLOCK_TOKENS, HASH_BYTES


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One request. Output lengths are forced, as benchmarks do with `ignore_eos`.

    `prefix_ids` name the prompt in pieces of `tokens_per_prefix_id` tokens, the last one perhaps shorter; equal ids at
    equal places mean equal tokens up to there (Mooncake's `hash_ids`). Without them nothing is shared.
    """

    arrived_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    prefix_ids: tuple[int, ...] = ()
    tokens_per_prefix_id: int = 512
    first_token_deadline_s: float = float("inf")  # after arrival; the gateway gives up then
    priority: int = 0  # larger is more urgent
    num_images: int = 0  # their tokens are part of the prompt
    patches_per_image: int = 0
    tokens_per_image: int = 0

    @property
    def num_patches(self) -> int:
        return self.num_images * self.patches_per_image


Workload: TypeAlias = Iterable[RequestSpec]
"""Requests in order of arrival; may be endless as far as memory is concerned."""


def block_hashes(spec: RequestSpec) -> Sequence[bytes]:
    """Stand-ins for the chained hashes of the prompt's full blocks of HASH_BLOCK_TOKENS."""
    per_id = spec.tokens_per_prefix_id // HASH_BLOCK_TOKENS
    num_hashes = min(spec.num_prompt_tokens // HASH_BLOCK_TOKENS, len(spec.prefix_ids) * per_id)
    return [
        (spec.prefix_ids[index // per_id] * per_id + index % per_id).to_bytes(HASH_BYTES, "big")
        for index in range(num_hashes)
    ]
