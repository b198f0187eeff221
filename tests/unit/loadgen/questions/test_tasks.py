"""The questions of the evaluation: the same at all times, each its own, and graded by what they want."""

import pytest

from penstock_loadgen.questions.asking import Graded, by_task, request_body
from penstock_loadgen.questions.dialogue import Turn, said
from penstock_loadgen.questions.grading import is_right
from penstock_loadgen.questions.tasks import TASKS, held_out


@pytest.mark.parametrize("task", TASKS)
def test_questions_are_the_same_every_time_and_differ_from_each_other(task: str) -> None:
    bodies = [str(request_body(held_out(task, index), "m")) for index in range(8)]
    assert bodies == [str(request_body(held_out(task, index), "m")) for index in range(8)]
    assert len(set(bodies)) == 8


@pytest.mark.parametrize("task", TASKS)
def test_the_right_answer_is_graded_right(task: str) -> None:
    turn = held_out(task, 0).last
    assert is_right(turn, turn.answer)
    assert not is_right(turn, "I do not know")


@pytest.mark.parametrize(
    ("answer", "is_good"), [("3", True), (" 3.", True), ("three", False), ("13", False), ("", False), ("3 3", False)]
)
def test_a_closed_answer_is_exact(answer: str, is_good: bool) -> None:
    assert is_right(said("count", "how many?", "3"), answer) is is_good


def test_capitals_and_a_final_stop_do_not_matter() -> None:
    assert is_right(Turn("recall", ("?",), "The code of river is 4821."), "the code of river is 4821")


def test_pictures_go_as_data_urls_and_earlier_turns_with_their_answers() -> None:
    body = request_body(held_out("later_picture", 0), "m")
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    kinds = {part["type"] for part in body["messages"][0]["content"]}
    assert kinds == {"text", "image_url"}
    assert body["temperature"] == 0


def test_text_alone_goes_as_a_string() -> None:
    (message,) = request_body(held_out("sum", 0), "m")["messages"]
    assert isinstance(message["content"], str)


def test_failed_requests_count_as_wrong() -> None:
    graded = [
        Graded("sum", 0, "3", "3", True),
        Graded("sum", 1, "4", "", False, "status 500"),
        Graded("count", 0, "1", "2", False),
    ]
    sums, counts = by_task(graded)
    assert (sums.num_right, sums.num_questions, sums.num_failed, sums.accuracy) == (1, 2, 1, 0.5)
    assert counts.accuracy == 0
