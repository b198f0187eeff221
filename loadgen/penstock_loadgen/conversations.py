"""Conversations recovered from a table of lengths whose rows are in conversation order.

Row i + 1 continues row i when its prompt holds row i's prompt and answer and at most 4,000 tokens more. In the ShareGPT
table of Sarathi-Serve that makes 5,705 conversations of 5.4 turns, 93 % of whose prompt tokens the turn before has seen
(after shuffling, hardly any two rows fit). When a turn comes is not in the table: think times are exponential.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from random import Random

from penstock.core.blocks import HASH_BLOCK_TOKENS
from penstock.core.errors import InvalidSettings
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.lengths import Lengths, read_lengths

_MAX_NEW_TOKENS = 4000


@dataclass(frozen=True, slots=True)
class ConversationsSpec:
    """`rate` conversations begin each second; a turn follows `think_s` on average after the one before began."""

    path: str
    num_sessions: int = 1000
    rate: float = 1.0
    think_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("rate", "think_s"):
            if not getattr(self, name) > 0:
                raise InvalidSettings(f"workload.sessions.{name}", getattr(self, name), "must be above 0")


def recover(rows: Iterable[Lengths]) -> Iterator[list[Lengths]]:
    """The turns of each conversation, in the order of the table."""
    turns: list[Lengths] = []
    for prompt, output in rows:
        if turns and not 0 <= prompt - sum(turns[-1]) < _MAX_NEW_TOKENS:
            yield turns
            turns = []
        turns.append((prompt, output))
    if turns:
        yield turns


def conversations(spec: ConversationsSpec, random: Random) -> Iterator[RequestSpec]:
    """The turns of conversations drawn at random, in order of arrival; a turn shares all that was said before it."""
    known = list(recover(read_lengths(spec.path)))
    drawn: list[Iterator[RequestSpec]] = []
    began_s = 0.0
    for number in range(spec.num_sessions):
        began_s += random.expovariate(spec.rate)
        drawn.append(_turns(random.choice(known), number, began_s, spec.think_s, Random(random.random())))
    waiting = [(next(turns), number) for number, turns in enumerate(drawn)]
    queue = [(turn.arrived_s, number, turn) for turn, number in waiting]
    heapify(queue)
    while queue:
        _, number, turn = queue[0]
        yield turn
        following = next(drawn[number], None)
        if following is None:
            heappop(queue)
        else:
            heapreplace(queue, (following.arrived_s, number, following))


def _turns(
    lengths: list[Lengths], number: int, arrived_s: float, think_s: float, random: Random
) -> Iterator[RequestSpec]:
    longest = max(prompt for prompt, _ in lengths) // HASH_BLOCK_TOKENS + 1
    names = tuple(range(number << 16, (number << 16) + longest))
    for prompt, output in lengths:
        shared = names[: -(-prompt // HASH_BLOCK_TOKENS)]
        yield RequestSpec(arrived_s, prompt, output, shared, HASH_BLOCK_TOKENS)
        arrived_s += random.expovariate(1 / think_s)
