"""Recall, sums, lists, stories: answers follow from what was asked."""

import re
from itertools import pairwise
from random import Random

import pytest

from penstock_loadgen.questions import arithmetic, stories
from penstock_loadgen.questions.tasks import held_out
from penstock_loadgen.questions.words import HEROES, KEYS

SEEDS = range(60)


@pytest.mark.parametrize(("task", "num_words"), [("recall", 100), ("recall_1k", 800), ("recall_4k", 3200)])
def test_the_code_asked_for_is_named_once_and_early(task: str, num_words: int) -> None:
    for index in range(10):
        turn = held_out(task, index).last
        text = str(turn.asked[0])
        assert text.count(turn.answer) == 1
        assert text.index(turn.answer) < 0.25 * len(text)
        key = re.fullmatch(r"Code (\w+) \d{4}\.", turn.answer)
        assert key and key[1] in text.splitlines()[-1]
        assert num_words <= len(text.split()) < num_words + 60


def test_a_code_of_an_earlier_turn_is_asked_for() -> None:
    for index in SEEDS:
        dialogue = held_out("later_code", index)
        assert dialogue.last.answer in str(dialogue.turns[0].asked[0])
        assert len(dialogue.turns) > 2


def test_keys_never_occur_in_stories() -> None:
    text = " ".join(stories.filler(Random(1), 5000))
    assert not set(KEYS) & set(re.findall(r"\w+", text))


def test_sums_are_right_and_training_never_sees_those_of_the_evaluation() -> None:
    for seed in SEEDS:
        for maker, is_held_out in ((arithmetic.sums, False), (arithmetic.held_out_sum, True)):
            for turn in maker(Random(seed)).turns:
                a, b = map(int, re.findall(r"\d+", str(turn.asked[0])))
                assert int(turn.answer) == a + b
                assert arithmetic.is_held_out(a, b) == arithmetic.is_held_out(b, a) == is_held_out


def test_lists_go_on_with_the_same_difference() -> None:
    for index in SEEDS:
        turn = held_out("series", index).last
        numbers = [int(number) for number in re.findall(r"\d+", f"{turn.asked[0]} {turn.answer}")]
        assert len({after - before for before, after in pairwise(numbers)}) == 1


def test_what_is_to_be_repeated_is_repeated() -> None:
    turn = held_out("repeat", 3).last
    assert str(turn.asked[0]).split(": ")[1] == turn.answer


def test_stories_are_about_whom_they_were_asked_for() -> None:
    for index in SEEDS:
        turn = held_out("story", index).last
        (hero,) = (one for one in HEROES if one in str(turn.asked[0]))
        assert stories.is_story_about(hero, turn.answer)
        other = next(one for one in HEROES if one != hero)
        assert not stories.is_story_about(other, turn.answer)


@pytest.mark.parametrize("text", ["", "Once upon a time.", "A little fox named Tom lived in the wood. And then what?"])
def test_other_texts_are_no_stories_of_ours(text: str) -> None:
    assert not stories.is_story_about("fox", text)
