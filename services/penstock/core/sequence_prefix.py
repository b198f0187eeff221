"""The part of a sequence that the prefix cache knows: taken from it when the sequence comes, entered as it grows."""

from collections.abc import Collection, Iterable

from penstock.core.blocks import HASH_BLOCK_TOKENS, BlockPool, hash_blocks
from penstock.core.embeddings import find_ready_tokens
from penstock.core.images import hashed_token_ids
from penstock.core.types import Sequence


def match_prefixes(
    prompts: Iterable[Sequence], waiting: Collection[Sequence], pool: BlockPool, max_tokens: int
) -> None:
    """Give those of `prompts` that may start now, out of `waiting`, the longest cached prefix there is by now."""
    for sequence in prompts:
        if max_tokens <= 0:
            return
        if sequence in waiting:
            _match_prefix(sequence, pool)
        max_tokens -= sequence.num_tokens_to_run


def _match_prefix(sequence: Sequence, pool: BlockPool) -> None:
    prefix = pool.take_prefix(sequence.block_hashes, sequence.num_tokens - 1)  # one token at least must run
    pool.release(sequence.block_ids[: len(prefix)])
    sequence.block_ids[: len(prefix)] = prefix
    count_prefix(sequence, len(prefix), pool)


def count_prefix(sequence: Sequence, num_blocks: int, pool: BlockPool) -> None:
    """Its first blocks came from the cache: begin after them."""
    sequence.num_hashed_blocks = num_blocks
    sequence.num_computed_tokens = sequence.num_cached_tokens = num_blocks * pool.block_size
    if sequence.absent_images:
        find_ready_tokens(sequence)


def enter_full_blocks(sequence: Sequence, pool: BlockPool) -> None:
    """Make the newly filled blocks of a sequence known to the prefix cache."""
    _extend_hashes(sequence)
    per_block = pool.block_size // HASH_BLOCK_TOKENS
    num_full = min(sequence.num_computed_tokens // pool.block_size, len(sequence.block_hashes) // per_block)
    for index in range(sequence.num_hashed_blocks, num_full):
        pool.enter(sequence.block_ids[index], sequence.block_hashes[(index + 1) * per_block - 1])
    sequence.num_hashed_blocks = max(sequence.num_hashed_blocks, num_full)


def _extend_hashes(sequence: Sequence) -> None:
    """Continue the chain over generated tokens. A chain that never began cannot: its salt is the gateway's."""
    if not sequence.block_hashes:
        return
    begin = len(sequence.block_hashes) * HASH_BLOCK_TOKENS
    end = sequence.num_computed_tokens // HASH_BLOCK_TOKENS * HASH_BLOCK_TOKENS
    if end > begin:
        images = [image for image in sequence.request.images if image.end > begin]
        token_ids = hashed_token_ids(sequence.token_ids, images)[begin:end]
        sequence.block_hashes += hash_blocks(token_ids, parent=sequence.block_hashes[-1])
