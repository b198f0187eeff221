"""What is drawn when."""

from dataclasses import replace

import pytest

from penstock_loadgen.questions.tasks import TASKS, held_out
from training.curriculum import STAGES, Stage, draw_dialogue, draw_long_dialogue, has_long_dialogue, stage_at


def test_stages_follow_each_other_until_the_end() -> None:
    ends = [stage.until for stage in STAGES]
    assert ends == sorted(set(ends)) and ends[-1] == 1
    assert stage_at(0.0) is STAGES[0] and stage_at(1.0) is STAGES[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_a_dialogue_is_the_same_every_time_and_no_other(stage: Stage) -> None:
    drawn = [draw_dialogue(stage, 0, index) for index in range(50)]
    assert drawn == [draw_dialogue(stage, 0, index) for index in range(50)]
    assert len(set(map(repr, drawn))) == 50


def test_training_asks_no_question_of_the_evaluation() -> None:
    learned = {repr(turn) for index in range(3000) for turn in draw_dialogue(STAGES[-1], 0, index).turns[:1]}
    asked = {repr(held_out(task, index).turns[0]) for task in TASKS for index in range(20) if task != "series"}
    assert not learned & asked


def test_long_texts_come_as_often_as_the_stage_says() -> None:
    stage = replace(STAGES[-1], long_share=0.25)
    share = sum(has_long_dialogue(stage, 0, step) for step in range(2000)) / 2000
    assert share == pytest.approx(0.25, abs=0.04)
    texts = [str(draw_long_dialogue(stage, 0, index).turns[0].asked[0]) for index in range(5)]
    assert all(stage.long_words // 3 <= len(text.split()) < stage.long_words + 150 for text in texts)
