"""Which cached blocks go first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.eviction import CachedBlock, least_recently_used, least_valuable
from penstock.core.step_cost import StepCost

COST = StepCost(0.1, 1e-4, 1e-8, 0.0, 0.0, 1.0)
NOW_S = 1000.0


def block(name: str, parent: str = "", before: int = 0, used_s: float = 0.0, num_uses: int = 1) -> CachedBlock:
    return CachedBlock(name.encode(), parent.encode(), before, used_s, num_uses)


def lru(blocks: list[CachedBlock], num_blocks: int) -> str:
    return b" ".join(least_recently_used(blocks, num_blocks)).decode()


def valuable(blocks: list[CachedBlock], num_blocks: int) -> str:
    return b" ".join(least_valuable(blocks, num_blocks, COST, NOW_S)).decode()


@pytest.mark.parametrize(
    ("case", "blocks", "num_blocks", "victims"),
    [
        ("none wanted", [block("a")], 0, ""),
        ("oldest first", [block("a", used_s=3.0), block("b", used_s=1.0), block("c", used_s=2.0)], 2, "b c"),
        ("all there are", [block("a", used_s=3.0), block("b", used_s=1.0)], 9, "b a"),
        ("a chain from its end", [block("a"), block("b", "a", 16), block("c", "b", 32)], 2, "c b"),
        ("no fork loses its stem", [block("a"), block("b", "a", 16, 5.0), block("c", "a", 16, 9.0)], 3, "b c a"),
        ("a parent that is in use is no concern", [block("b", "gone", 16, 5.0), block("c", used_s=6.0)], 1, "b"),
    ],
)
def test_least_recently_used(case: str, blocks: list[CachedBlock], num_blocks: int, victims: str) -> None:
    assert lru(blocks, num_blocks) == victims, case


@pytest.mark.parametrize(
    ("case", "blocks", "victims"),
    [
        ("idle ones", [block("a", used_s=900.0), block("b", used_s=100.0)], "b"),
        ("cheap ones: few tokens before", [block("a", "x", 30_000), block("b", "y", 16)], "b"),
        # used half as often in the future: 1/2 * 2^0 against 3/4 * 2^-1
        ("frequency against age", [block("a", used_s=1000.0), block("b", used_s=400.0, num_uses=3)], "b"),
        ("and the other way", [block("a", used_s=1000.0), block("b", used_s=700.0, num_uses=3)], "a"),
        # 1e-4 * 16 + 1e-8 * 16 * (2 * 30000 + 16) = 11.2 ms against 1.6 ms: worth 2.8 half-lives
        ("cost against age", [block("a", "x", 30_000, 0.0), block("b", "y", 0, 1000.0)], "b"),
    ],
)
def test_least_valuable(case: str, blocks: list[CachedBlock], victims: str) -> None:
    assert valuable(blocks, 1) == victims, case


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.0, 1000.0)), max_size=30), st.integers(0, 40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_remains_is_always_whole_prefixes(shape: list[tuple[int, float]], num_blocks: int) -> None:
    blocks: list[CachedBlock] = []
    for index, (parent, used_s) in enumerate(shape):
        above = blocks[parent] if parent < index else None
        before = above.num_tokens_before + 16 if above else 0
        blocks.append(block(str(index), above.block_hash.decode() if above else "", before, used_s))
    for victims in (least_recently_used(blocks, num_blocks), least_valuable(blocks, num_blocks, COST, NOW_S)):
        assert len(victims) == len(set(victims)) == min(num_blocks, len(blocks))
        left = {each.block_hash: each for each in blocks if each.block_hash not in victims}
        assert all(not each.parent or each.parent in left for each in left.values())
