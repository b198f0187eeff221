"""Short stories over a closed vocabulary: something long to say, and the filler between what is to be recalled."""

import re
from random import Random

from penstock_loadgen.questions.dialogue import Dialogue, said
from penstock_loadgen.questions.words import FEELINGS, HEROES, NAMES, SETTINGS, THINGS, TRAITS

_OPENINGS = (
    "Once there was a {trait} {hero} named {name} who lived near the {setting}.",
    "A {trait} {hero} named {name} lived in the {setting}.",
    "Long ago a {trait} {hero} named {name} came to the {setting}.",
)
_MIDDLES = (
    "One day {name} found a {thing} by the {setting}.",
    "In the morning {name} went to the {setting} with a {thing}.",
    "Then {name} met a {trait} {other} named {friend}.",
    "{friend} the {other} wanted to see the {thing}.",
    "{name} and {friend} played with the {thing} all day.",
    "They walked to the {setting} and looked at the sky.",
    "It began to rain, and {friend} felt {feeling}.",
    "The {hero} was {feeling}, but the {other} was {feeling}.",
    "{name} gave the {thing} to {friend}.",
    "At night they slept under a tree near the {setting}.",
    "{friend} said that the {setting} was far away.",
    "The {other} lost a {thing} and looked for it in the {setting}.",
    "They sat down and shared some bread and milk.",
)
_ENDINGS = (
    "In the end {name} was {feeling}, and they went home.",
    "After that {name} and {friend} were friends for ever.",
    "And so {name} the {hero} slept well that night.",
)
_ASKS = ("Tell me a story about a {hero}.", "tell me a story about a {hero}", "Write a short story about a {hero}.")
MAX_SENTENCES = 12


def story(random: Random) -> Dialogue:
    """A story about whom it was asked for."""
    hero = random.choice(HEROES)
    question = random.choice(_ASKS).format(hero=hero)
    return Dialogue((said("story", question, tell(random, hero, random.randint(4, MAX_SENTENCES))),))


def tell(random: Random, hero: str, num_sentences: int) -> str:
    """So many sentences, with an opening and an ending."""
    name, friend = random.sample(NAMES, 2)
    other = random.choice([one for one in HEROES if one != hero])
    middles = [_drawn(random, _MIDDLES) for _ in range(num_sentences - 2)]
    sentences = [_drawn(random, _OPENINGS), *middles, _drawn(random, _ENDINGS)]
    cast = {"hero": hero, "other": other, "name": name, "friend": friend}
    return " ".join(_filled(random, sentence, cast) for sentence in sentences)


def filler(random: Random, num_words: int) -> list[str]:
    """Sentences of stories, of at least so many words together."""
    sentences: list[str] = []
    while num_words > 0:
        told = tell(random, random.choice(HEROES), MAX_SENTENCES)
        for sentence in re.split(r"(?<=\.) ", told):
            sentences.append(sentence)
            num_words -= len(sentence.split())
            if num_words <= 0:
                break
    return sentences


def is_story_about(hero: str, text: str) -> bool:
    """Whether every sentence is one that `tell` could have said, and the first is about this hero."""
    sentences = re.split(r"(?<=\.) ", text.strip())
    known = [_pattern(sentence) for sentence in (*_OPENINGS, *_MIDDLES, *_ENDINGS)]
    is_told = all(any(pattern.fullmatch(sentence) for pattern in known) for sentence in sentences)
    return is_told and len(sentences) > 1 and f" {hero} " in sentences[0]


def _drawn(random: Random, sentences: tuple[str, ...]) -> str:
    return random.choice(sentences)


_DRAWN = {"trait": TRAITS, "setting": SETTINGS, "thing": THINGS, "feeling": FEELINGS}
_CAST = {"hero": HEROES, "other": HEROES, "name": NAMES, "friend": NAMES}


def _filled(random: Random, sentence: str, cast: dict[str, str]) -> str:
    """The cast stays the same through a story; everything else is drawn anew."""
    return re.sub(r"{(\w+)}", lambda slot: cast.get(slot[1]) or random.choice(_DRAWN[slot[1]]), sentence)


def _pattern(sentence: str) -> re.Pattern[str]:
    def options(slot: re.Match[str]) -> str:
        return f"(?:{'|'.join({**_DRAWN, **_CAST}[slot[1]])})"

    return re.compile(re.sub(r"{(\w+)}", options, re.escape(sentence).replace(r"\{", "{").replace(r"\}", "}")))
