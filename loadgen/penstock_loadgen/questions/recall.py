"""Codes named in a long text and asked for later: what proves that a KV cache carried over."""

from collections.abc import Callable
from random import Random

from penstock_loadgen.questions.dialogue import Dialogue, Turn, said
from penstock_loadgen.questions.stories import filler
from penstock_loadgen.questions.words import DIGITS, KEYS

CODE_DIGITS = 4
_ASKS = ("What is code {key}?", "what is code {key}?", "Tell me code {key}.", "Which number is code {key}?")


def recall(num_words: int, num_codes: int = 4) -> Callable[[Random], Dialogue]:
    """A maker of one question about a text of so many words; what it asks for is named in the first tenth of them."""

    def make(random: Random) -> Dialogue:
        codes = draw_codes(random, num_codes)
        sentences = filler(random, num_words)
        asked = next(iter(codes))
        for key, code in codes.items():
            end = len(sentences) // 10 if key == asked else len(sentences)
            sentences.insert(random.randint(0, end), named(key, code))
        return Dialogue((_question(random, " ".join(sentences), asked, codes[asked]),))

    return make


def recall_often(random: Random, min_words: int, max_words: int, max_codes: int = 16) -> Dialogue:
    """A text with many codes, and questions about many of them: what training gets most from."""
    num_words = round(min_words * (max_words / min_words) ** random.uniform(0, 1))
    codes = draw_codes(random, random.randint(2, max_codes))
    sentences = filler(random, num_words)
    for key, code in codes.items():
        sentences.insert(random.randint(0, len(sentences)), named(key, code))
    asked = random.sample(list(codes), random.randint(2, min(len(codes), 10)))
    first, *rest = asked
    turns = [_question(random, " ".join(sentences), first, codes[first])]
    turns += [_question(random, "", key, codes[key]) for key in rest]
    return Dialogue(tuple(turns))


def draw_codes(random: Random, number: int) -> dict[str, str]:
    """Keys and their codes."""
    return {key: "".join(random.choices(DIGITS, k=CODE_DIGITS)) for key in random.sample(KEYS, number)}


def named(key: str, code: str) -> str:
    """What names a code, and answers the question about it. A small model needs the two side by side."""
    return f"Code {key} {code}."


def asked_for(random: Random, key: str) -> str:
    """A question about a code."""
    return random.choice(_ASKS).format(key=key)


def _question(random: Random, text: str, key: str, code: str) -> Turn:
    question = asked_for(random, key)
    return said("recall", f"{text}\n{question}" if text else question, named(key, code))
