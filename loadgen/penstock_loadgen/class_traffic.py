"""The turns of one class's sessions, drawn from a seed or taken from its texts: an endless stream."""

from collections.abc import Iterator
from random import Random

from penstock_loadgen.lengths import Lengths, lengths
from penstock_loadgen.sessions import TrafficClass, Turn
from penstock_loadgen.texts import num_tokens_of, read_texts


def turns_of(traffic_class: TrafficClass, seed: int, is_named: bool) -> Iterator[tuple[Turn, ...]]:
    """One tuple of turns for each session; a class that a workload names draws apart from all others."""
    mark = f" {traffic_class.name}" if is_named else ""
    chance = Random(f"{seed} turns{mark}")
    said = _from_texts(traffic_class, chance) if traffic_class.texts else _invented(traffic_class, chance, seed, mark)
    for turns in said:
        yield tuple(
            Turn(
                num_new_tokens,
                num_output_tokens,
                text,
                think_s=_think_s(traffic_class, chance) if number else 0.0,
                num_images=0 if number else traffic_class.images.count,
                cancel_after_tokens=cancel_after_tokens(traffic_class, chance),
            )
            for number, ((num_new_tokens, num_output_tokens), text) in enumerate(turns)
        )


def _invented(traffic_class: TrafficClass, chance: Random, seed: int, mark: str) -> Iterator[list[tuple[Lengths, str]]]:
    pairs = lengths(traffic_class.lengths, Random(f"{seed} lengths{mark}"))
    while True:
        num_turns = chance.randint(traffic_class.turns.min, traffic_class.turns.max)
        yield [(next(pairs), "") for _ in range(num_turns)]


def _from_texts(traffic_class: TrafficClass, chance: Random) -> Iterator[list[tuple[Lengths, str]]]:
    assert traffic_class.texts is not None
    conversations = read_texts(traffic_class.texts)
    while True:
        conversation = chance.choice(conversations)
        yield [((num_tokens_of(said.text), said.num_output_tokens), said.text) for said in conversation]


def _think_s(traffic_class: TrafficClass, chance: Random) -> float:
    mean_s = traffic_class.turns.think_mean_s
    return chance.expovariate(1 / mean_s) if mean_s else 0.0


def cancel_after_tokens(traffic_class: TrafficClass, chance: Random) -> int:
    """Of the next turn; 0 when it is to be read to its end."""
    cancel = traffic_class.cancel
    return cancel.after_tokens if cancel.share and chance.random() < cancel.share else 0
