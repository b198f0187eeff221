"""Sums, number lists that go on, and texts to repeat."""

from random import Random

from penstock_loadgen.questions.dialogue import Dialogue, Turn, said
from penstock_loadgen.questions.words import COLOURS, DIGITS, HEROES, KEYS, THINGS

HELD_OUT = 10  # one in so many pairs of addends is never in training
_SHOWN, _WANTED = (4, 6), 3
_REPEATED = (*KEYS, *COLOURS, *HEROES, *THINGS)


def held_out_sum(random: Random) -> Dialogue:
    """A pair of addends that training has never shown."""
    return Dialogue((_sum(random, from_held_out=True),))


def sums(random: Random) -> Dialogue:
    """Several of the pairs that training may show."""
    return Dialogue(tuple(_sum(random, from_held_out=False) for _ in range(random.randint(4, 10))))


def is_held_out(a: int, b: int) -> bool:
    """By a fixed rule that has nothing to do with carrying; the same for a + b and b + a."""
    return (min(a, b) * 7919 + max(a, b) * 104729) % 1009 % HELD_OUT == 0


def series(random: Random) -> Dialogue:
    """A list of numbers with a constant difference; the next three are wanted."""
    return Dialogue((_series(random),))


def many_series(random: Random) -> Dialogue:
    """Several of them, for training."""
    return Dialogue(tuple(_series(random) for _ in range(random.randint(2, 5))))


def repeat(random: Random, max_items: int = 30) -> Dialogue:
    """Words and digits to be said again."""
    number = random.randint(3, max_items)
    items = [random.choice(_REPEATED) if random.random() < 0.8 else random.choice(DIGITS) for _ in range(number)]
    text = " ".join(items)
    return Dialogue((said("repeat", f"{random.choice(('Repeat', 'Say'))}: {text}", text),))


def _sum(random: Random, from_held_out: bool) -> Turn:
    while True:
        a, b = random.randrange(100), random.randrange(100)
        if is_held_out(a, b) == from_held_out:
            break
    forms = (f"What is {a} + {b}?", f"{a} + {b} =", f"what is {a} + {b}?", f"How much is {a} + {b}?")
    return said("sum", random.choice(forms), str(a + b))


def _series(random: Random) -> Turn:
    num_shown, step = random.randint(*_SHOWN), random.randint(1, 9)
    start = random.randint(0, 99 - step * (num_shown + _WANTED - 1))
    numbers = [str(start + index * step) for index in range(num_shown + _WANTED)]
    question = random.choice(("Continue: {}", "Continue the list: {}", "continue {}")).format(
        ", ".join(numbers[:num_shown])
    )
    return said("series", question, ", ".join(numbers[num_shown:]))
