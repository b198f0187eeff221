"""A book of sequences without an engine, and what one does with it."""

from penstock.core.blocks import BlockPool, hash_blocks
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.sequence_prefix import enter_full_blocks
from penstock.core.sequences import SequenceBook
from penstock.core.types import ScheduledSequence, Sequence
from tests.unit.engine.mock_engine import FakeOwner, make_request


def make_book(num_blocks: int = 16, block_size: int = 16, max_sequences: int = 8) -> SequenceBook:
    return SequenceBook(BlockPool(num_blocks, block_size), AdmissionLimits(max_sequences, 1000), lambda: 5.0)


def accept(book: SequenceBook, num_tokens: int = 40, handle: int = 0) -> Sequence:
    return book.accept(make_request(range(num_tokens), handle=handle), FakeOwner(), is_prefill_only=False)


def step(book: SequenceBook, sequence: Sequence) -> None:
    """Compute all of a sequence, as a step does."""
    items = [ScheduledSequence(sequence, sequence.num_computed_tokens, sequence.num_tokens_to_run)]
    book.begin_step(items)
    sequence.num_computed_tokens = sequence.num_tokens
    enter_full_blocks(sequence, book.pool)
    book.end_step(items)


def held(num_tokens: int, handle: int = 0, chain: int = 0) -> Sequence:
    """A sequence that is computed elsewhere: its tokens are not known yet, their hashes are."""
    hashes = hash_blocks(range(chain, chain + num_tokens))
    return Sequence(make_request((), handle=handle), [], 0.0, block_hashes=hashes)
