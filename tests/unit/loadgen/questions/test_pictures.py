"""Every answer about a picture holds for its pixels."""

import re
from random import Random

import pytest

from penstock_loadgen.questions.dialogue import Turn
from penstock_loadgen.questions.drawing import data_url, draw
from penstock_loadgen.questions.pictures import ASKS, asked_often
from penstock_loadgen.questions.scenes import Scene
from penstock_loadgen.questions.tasks import held_out
from penstock_loadgen.questions.words import COLOURS, PLACES, SHAPES
from tests.unit.loadgen.questions.seen import colour_of, seen_kinds, shape_of, spots

NUM_CHECKED = 40


def asked(task: str, index: int) -> tuple[Turn, Scene, str]:
    turn = held_out(task, index).last
    (question,) = (part for part in turn.asked if isinstance(part, str))
    return turn, turn.scenes[0], question


def at_place(scene: Scene, question: str) -> tuple[str, str]:
    """Colour and shape of the spot that lies where the question asks."""
    place = next(name for name in PLACES if re.search(rf"\b{name}\b", question))
    x, y = (share * side for share, side in zip(PLACES[place], (scene.width, scene.height), strict=True))
    picture = draw(scene)

    def distance(spot: set[tuple[int, int]]) -> float:
        return abs(sum(at for at, _ in spot) / len(spot) - x) + abs(sum(at for _, at in spot) / len(spot) - y)

    spot = min(spots(picture, scene.background), key=distance)
    return colour_of(picture, spot), shape_of(spot)


@pytest.mark.parametrize("index", range(NUM_CHECKED))
def test_counts_are_those_of_the_pixels(index: int) -> None:
    turn, scene, question = asked("count", index)
    colour = next((name for name in COLOURS if name in question), "")
    shape = next((name for name in SHAPES if name in question), "")
    seen = seen_kinds(draw(scene), scene.background)
    assert int(turn.answer) == sum(
        number for kind, number in seen.items() if colour in ("", kind[0]) and shape in ("", kind[1])
    )


@pytest.mark.parametrize("index", range(NUM_CHECKED))
def test_what_is_there_is_in_the_pixels(index: int) -> None:
    turn, scene, question = asked("presence", index)
    colour = next(name for name in COLOURS if name in question)
    shape = next(name for name in SHAPES if name in question)
    assert (turn.answer == "yes") == ((colour, shape) in seen_kinds(draw(scene), scene.background))


@pytest.mark.parametrize("index", range(NUM_CHECKED))
def test_colours_and_shapes_are_where_they_are_said_to_be(index: int) -> None:
    turn, scene, question = asked("colour", index)
    assert turn.answer == at_place(scene, question)[0]
    turn, scene, question = asked("shape", index)
    assert turn.answer == at_place(scene, question)[1]


@pytest.mark.parametrize("index", range(NUM_CHECKED))
def test_descriptions_name_everything_there_is(index: int) -> None:
    turn, scene, _ = asked("description", index)
    kinds = [tuple(one.split()[1:]) for one in turn.answer.split(", ")]
    assert sorted(kinds) == sorted(seen_kinds(draw(scene), scene.background).elements())


def test_different_digits_look_different() -> None:
    looks: dict[str, set[tuple[bool, ...]]] = {}
    for index in range(200):
        turn, scene, _ = asked("digit", index)
        (figure,) = scene.figures
        if figure.size == 35:
            box = (figure.left, figure.top, figure.left + 35, figure.top + 35)
            shown = draw(scene).crop(box).convert("RGB").get_flattened_data()
            looks.setdefault(turn.answer, set()).add(tuple(pixel != (scene.background,) * 3 for pixel in shown))
    assert all(len(one) == 1 for one in looks.values())
    assert len(set.union(*looks.values())) == len(looks) > 2


def test_all_counts_are_asked_for_about_as_often() -> None:
    answers = [held_out("count", index).last.answer for index in range(600)]
    assert all(answers.count(str(number)) > 50 for number in range(6))


def test_two_pictures_are_compared_truly() -> None:
    for index in range(NUM_CHECKED):
        turn = held_out("two_pictures", index).last
        question = str(turn.asked[-1])
        seen = [seen_kinds(draw(scene), scene.background) for scene in turn.scenes]
        if "more" in question:
            shape = next(name for name in SHAPES if name in question)
            first, second = (sum(number for kind, number in one.items() if kind[1] == shape) for one in seen)
            assert turn.answer == ("first" if first > second else "second" if second > first else "same")
        else:
            (kind,) = seen["second" in question]
            assert tuple(turn.answer.split()[1:]) == kind


def test_a_picture_is_the_same_bytes_every_time() -> None:
    _, scene, _ = asked("count", 0)
    assert data_url(scene) == data_url(scene)
    assert data_url(scene).startswith("data:image/png;base64,")


def test_several_questions_share_one_picture() -> None:
    for seed in range(NUM_CHECKED):
        turns = asked_often(Random(seed)).turns
        assert len(turns[0].scenes) == 1 and not any(turn.scenes for turn in turns[1:])
        assert {turn.task for turn in turns} <= set(ASKS)
