"""Which cached blocks go first when space is needed.

    least_recently_used   the baseline, what `core.blocks` does by itself
    least_valuable        least expected seconds saved per block:   P(used again) * seconds to compute it anew

    seconds       T_prefill(block tokens after the tokens before it): late blocks attend to more and cost more
    P(used again) num_uses / (num_uses + 1) * 2^(-idle / half_life)

The probability is a plain guess of the usual shape (frequency times recency), not from a paper; the cost term is the
D_prefill that Beyond Accuracy (arXiv 2604.05404) says keeping KV saves. A block is useless without those before it, so
no block goes before the blocks that continue it, in either order.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp2

from penstock.core.step_cost import StepCost


@dataclass(frozen=True, slots=True)
class CachedBlock:
    """One block of a cached prefix that nobody uses now. `parent` is the hash before it, empty at a chain's start."""

    block_hash: bytes
    parent: bytes
    num_tokens_before: int
    last_used_s: float
    num_uses: int = 1


def least_recently_used(blocks: Iterable[CachedBlock], num_blocks: int) -> tuple[bytes, ...]:
    """Hashes of the `num_blocks` to evict, first victim first; fewer when there are fewer."""
    return _evict(blocks, num_blocks, lambda block: block.last_used_s)


def least_valuable(
    blocks: Iterable[CachedBlock],
    num_blocks: int,
    cost: StepCost,
    now_s: float,
    block_size: int = 16,
    half_life_s: float = 600.0,
) -> tuple[bytes, ...]:
    """Hashes of the `num_blocks` to evict, first victim first; fewer when there are fewer."""

    def value(block: CachedBlock) -> float:
        probability = block.num_uses / (block.num_uses + 1) * exp2((block.last_used_s - now_s) / half_life_s)
        # the base is paid by the step that computes the rest of the prompt in any case
        seconds = cost.prefill_s(block_size, block.num_tokens_before) - cost.prefill_base_s
        return probability * seconds

    return _evict(blocks, num_blocks, value)


def _evict(blocks: Iterable[CachedBlock], num_blocks: int, value: Callable[[CachedBlock], float]) -> tuple[bytes, ...]:
    """Least value first among the blocks that no other continues."""
    by_hash = {block.block_hash: block for block in blocks}
    num_children = dict.fromkeys(by_hash, 0)
    for block in by_hash.values():
        if block.parent in num_children:
            num_children[block.parent] += 1
    leaves: list[tuple[float, bytes]] = []
    for block in by_hash.values():
        if not num_children[block.block_hash]:
            heappush(leaves, (value(block), block.block_hash))
    victims: list[bytes] = []
    while leaves and len(victims) < num_blocks:
        block = by_hash[heappop(leaves)[1]]
        victims.append(block.block_hash)
        parent = by_hash.get(block.parent)
        if parent is not None:
            num_children[parent.block_hash] -= 1
            if not num_children[parent.block_hash]:
                heappush(leaves, (value(parent), parent.block_hash))
    return tuple(victims)
