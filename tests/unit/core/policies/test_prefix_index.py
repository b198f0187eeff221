import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.policies.prefix_index import PrefixIndex

HASHES = hash_blocks(list(range(160)))  # ten of them


def index(*workers: tuple[str, int], **limits: float) -> PrefixIndex:
    made = PrefixIndex(**limits)  # type: ignore[arg-type]
    for name, block_size in workers:
        made.add_worker(name, block_size)
    return made


def test_finds_the_longest_leading_run_of_each_worker() -> None:
    known = index(("a", 16), ("b", 16), ("c", 16), ("d", 16))
    known.store("a", HASHES)
    known.store("b", HASHES[:3])
    known.store("c", HASHES[1:])  # its first block was evicted: nothing leads anywhere
    assert known.match(HASHES) == {"a": 160, "b": 48}
    assert known.match(HASHES[:2]) == {"a": 32, "b": 32}
    assert known.match([]) == {}


def test_workers_with_larger_blocks_are_asked_at_their_block_ends_only() -> None:
    known = index(("small", 16), ("large", 32), ("huge", 64))
    known.store("small", HASHES[:5])
    known.store("large", HASHES[1:6:2])  # ends at 32, 64, 96 tokens
    known.store("huge", [HASHES[3], HASHES[7]])
    assert known.match(HASHES) == {"small": 80, "large": 96, "huge": 128}
    assert known.match(HASHES[:3]) == {"small": 48, "large": 32}


def test_evicted_hashes_are_forgotten() -> None:
    known = index(("a", 16), ("b", 16))
    known.store("a", HASHES)
    known.store("b", HASHES)
    known.evict("a", HASHES[4:])
    assert known.match(HASHES) == {"a": 64, "b": 160}
    known.evict("b", HASHES)
    known.evict("b", HASHES)  # news may come twice
    known.evict("a", HASHES)
    assert (known.match(HASHES), len(known)) == ({}, 0)


def test_expected_prefixes_count_until_they_age_unless_confirmed() -> None:
    known = index(("a", 16), ("b", 16), expected_for_s=5.0)
    known.age(100.0)
    known.expect("a", HASHES)
    known.expect("b", HASHES)
    known.store("b", HASHES[:2])
    assert known.match(HASHES) == {"a": 160, "b": 160}
    known.age(104.0)
    known.age(105.0)
    assert known.match(HASHES) == {"a": 160, "b": 160}
    known.age(110.0)
    assert known.match(HASHES) == {"b": 32}


def test_eviction_also_ends_an_expectation() -> None:
    known = index(("a", 16))
    known.expect("a", HASHES)
    known.evict("a", HASHES[:1])
    assert known.match(HASHES) == {}


def test_one_huge_prompt_is_expected_in_part() -> None:
    known = index(("a", 16), max_expected=4)
    known.expect("a", HASHES)
    assert known.match(HASHES) == {"a": 64}


def test_memory_is_bounded_and_the_least_recently_used_hashes_go_first() -> None:
    known = index(("a", 16), max_hashes=12)
    other = hash_blocks([7] * 160)
    known.store("a", HASHES)
    known.store("a", other[:2])
    assert known.match(HASHES) == {"a": 160}  # and now used more recently than `other`
    known.store("a", hash_blocks([8] * 32))
    assert len(known) == 12
    assert known.match(HASHES) == {"a": 160}
    assert known.match(other) == {}


@pytest.mark.parametrize("num_lives", [2, 200])
def test_a_worker_that_comes_back_holds_nothing_however_often(num_lives: int) -> None:
    known = index(("stays", 16))
    known.store("stays", HASHES[:1])
    for _ in range(num_lives):
        known.add_worker("a", 16)
        assert known.match(HASHES) == {"stays": 16}
        known.store("a", HASHES)
        known.expect("a", HASHES)
        assert known.match(HASHES) == {"stays": 16, "a": 160}
    known.remove_worker("a")
    assert known.match(HASHES) == {"stays": 16}


def test_what_is_only_expected_is_not_confirmed() -> None:
    index = PrefixIndex()
    index.add_worker("a", 16)
    index.add_worker("b", 16)
    hashes = [bytes([n]) for n in range(4)]
    index.store("a", hashes[:2])
    index.expect("b", hashes)
    assert index.match(hashes) == {"a": 32, "b": 64}
    assert index.match(hashes, is_confirmed=True) == {"a": 32}
