"""The block pool: who may hold what, what is kept, what goes first."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock.core.blocks import HASH_BLOCK_TOKENS, HASH_BYTES, BlockPool, hash_blocks


def hashes(num_blocks: int, first_token: int = 0) -> list[bytes]:
    return hash_blocks(range(first_token, first_token + num_blocks * HASH_BLOCK_TOKENS))


def fill(pool: BlockPool, block_hashes: list[bytes]) -> list[int]:
    """Allocate blocks and make them known, as a computed sequence does."""
    block_ids = pool.allocate(len(block_hashes))
    assert block_ids is not None
    for block_id, block_hash in zip(block_ids, block_hashes, strict=True):
        pool.enter(block_id, block_hash)
    return block_ids


# --- hashes ---


def test_hashes_every_full_block_and_no_other() -> None:
    for num_tokens, num_hashes in [(0, 0), (15, 0), (16, 1), (31, 1), (32, 2), (160, 10)]:
        assert len(hash_blocks(range(num_tokens))) == num_hashes
    assert all(len(block_hash) == HASH_BYTES for block_hash in hashes(3))


def test_a_hash_stands_for_everything_before_it() -> None:
    tokens = list(range(48))
    changed = [7, *tokens[1:]]
    assert not set(hash_blocks(tokens)) & set(hash_blocks(changed))
    assert hash_blocks(tokens)[:2] == hash_blocks(tokens[:32])


def test_a_salt_keeps_tenants_apart() -> None:
    assert not set(hash_blocks(range(32), b"a")) & set(hash_blocks(range(32), b"b"))


@pytest.mark.parametrize("num_known", [16, 32, 48])
def test_a_chain_continues_from_its_last_hash(num_known: int) -> None:
    tokens = list(range(64))
    known = hash_blocks(tokens[:num_known], b"salt")
    assert known + hash_blocks(tokens[num_known:], parent=known[-1]) == hash_blocks(tokens, b"salt")


# --- pool ---


def test_block_size_must_be_a_multiple_of_the_hashed_one() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        BlockPool(4, 24)


def test_fresh_blocks_are_contiguous_even_after_others_came_back() -> None:
    pool = BlockPool(8, 16)
    first, second = pool.allocate(3), pool.allocate(3)
    assert first == [0, 1, 2]
    assert second == [3, 4, 5]
    pool.release(second)
    pool.release(first)
    assert pool.allocate(8) == list(range(8))


def test_allocates_all_or_nothing() -> None:
    pool = BlockPool(4, 16)
    assert pool.allocate(5) is None
    assert pool.num_free == 4
    assert pool.allocate(0) == []


def test_evicts_the_least_recently_used_prefix_first_and_its_end_before_its_beginning() -> None:
    pool = BlockPool(4, 16)
    old, new = hashes(2), hashes(2, first_token=1000)
    pool.release(fill(pool, old))
    pool.release(fill(pool, new))
    pool.release(pool.take_prefix(old, 100))  # used again: now `new` is the older one
    pool.allocate(1)
    assert set(pool.known_hashes()) == {*old, new[0]}
    pool.allocate(1)
    assert set(pool.known_hashes()) == set(old)
    pool.allocate(1)
    assert pool.known_hashes() == [old[0]]


def test_free_blocks_are_used_before_a_prefix_is_evicted() -> None:
    pool = BlockPool(4, 16)
    pool.release(fill(pool, hashes(2)))
    pool.allocate(2)
    assert pool.num_cached == 2


@pytest.mark.parametrize(("max_tokens", "num_taken"), [(100, 3), (48, 3), (47, 2), (16, 1), (15, 0), (0, 0)])
def test_takes_no_more_of_a_prefix_than_asked(max_tokens: int, num_taken: int) -> None:
    pool = BlockPool(4, 16)
    block_ids = fill(pool, hashes(3))
    assert pool.take_prefix(hashes(3), max_tokens) == block_ids[:num_taken]


def test_a_prefix_ends_at_the_first_unknown_block() -> None:
    pool = BlockPool(4, 16)
    known = hashes(3)
    block_ids = fill(pool, known[:1])
    fill(pool, [known[2]])
    assert pool.take_prefix(known, 100) == block_ids


def test_large_blocks_are_known_by_the_last_of_their_hashes() -> None:
    pool = BlockPool(4, 32)
    known = hashes(5)
    block_ids = fill(pool, [known[1], known[3]])
    assert pool.take_prefix(known, 1000) == block_ids
    assert pool.take_prefix(known[:3], 1000) == block_ids[:1]


def test_the_first_holder_of_a_hash_stays_it() -> None:
    pool = BlockPool(4, 16)
    [first], [second] = fill(pool, hashes(1)), fill(pool, hashes(1))
    assert pool.take_prefix(hashes(1), 16) == [first]
    pool.release([second])
    assert pool.num_free == 3  # a double is not kept


def test_releasing_too_often_is_noticed() -> None:
    pool = BlockPool(4, 16)
    block_ids = fill(pool, hashes(1))
    pool.release(block_ids)
    with pytest.raises(AssertionError, match="more often"):
        pool.release(block_ids)


def test_tells_once_what_entered_and_left_the_cache() -> None:
    pool = BlockPool(2, 16)
    known = hashes(2)
    pool.release(fill(pool, known))
    assert [set(changed) for changed in pool.take_changes()] == [set(known), set()]
    assert pool.take_changes() == ([], [])
    pool.allocate(2)
    assert [set(changed) for changed in pool.take_changes()] == [set(), set(known)]


def test_what_came_and_went_between_two_calls_is_only_told_as_gone() -> None:
    pool = BlockPool(1, 16)
    pool.release(fill(pool, hashes(1)))
    block_ids = pool.allocate(1)
    assert block_ids is not None
    stored, evicted = pool.take_changes()
    assert stored == []
    assert evicted == hashes(1)
    pool.enter(block_ids[0], hashes(1)[0])
    assert pool.take_changes() == (hashes(1), [])


class PoolMachine(RuleBasedStateMachine):
    """Sequences come, share prefixes, grow, are computed and leave; a model knows what each block must hold."""

    held = Bundle("held")
    NUM_BLOCKS = 12

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(self.NUM_BLOCKS, 16)
        self.references: dict[int, int] = {}
        self.content: dict[int, bytes] = {}  # what was last written to a block
        self.router: set[bytes] = set()  # what a router believes, fed by the changes alone

    @rule(target=held, num_blocks=st.integers(1, 6), family=st.integers(0, 2), is_computed=st.booleans())
    def start(self, num_blocks: int, family: int, is_computed: bool) -> list[int]:
        chain = hashes(num_blocks, first_token=family * 10_000)
        num_free = self.pool.num_free
        prefix = self.pool.take_prefix(chain, num_blocks * 16)
        for block_id, block_hash in zip(prefix, chain, strict=False):
            assert self.content[block_id] == block_hash, "a prefix block does not hold its prefix"
        fresh = self.pool.allocate(num_blocks - len(prefix))
        if fresh is None:
            assert num_blocks > num_free
            self.pool.release(prefix)
            return []
        for block_id in fresh:
            assert not self.references.get(block_id), "a block was handed out twice"
        for at, block_id in enumerate(prefix + fresh):
            self.references[block_id] = self.references.get(block_id, 0) + 1
            if at >= len(prefix):
                self.content[block_id] = chain[at] if is_computed else b"unfinished"
                if is_computed:
                    self.pool.enter(block_id, chain[at])
        return prefix + fresh

    @rule(block_ids=consumes(held))
    def leave(self, block_ids: list[int]) -> None:
        self.pool.release(block_ids)
        for block_id in block_ids:
            self.references[block_id] -= 1

    @rule()
    def report(self) -> None:
        stored, evicted = self.pool.take_changes()
        assert not set(stored) & set(evicted)
        self.router = (self.router | set(stored)) - set(evicted)
        assert self.router == set(self.pool.known_hashes())

    @invariant()
    def nothing_is_lost_or_held_twice(self) -> None:
        num_referenced = sum(1 for count in self.references.values() if count)
        assert self.pool.num_referenced == num_referenced
        assert self.pool.num_free + num_referenced == self.NUM_BLOCKS


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
