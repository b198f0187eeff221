"""The trained weights in the package: what files there are, and that they still see and recall."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration

import penstock.engine
from penstock_loadgen.questions.grading import is_right
from penstock_loadgen.questions.tasks import held_out
from training.batches import batch_of
from training.evaluate import num_right
from training.examples import Reader
from training.model import model_config

FOLDER = Path(penstock.engine.__file__).parent / "builtin"
MAX_BYTES = 12_000_000
LEAST = {"count": 0.8}
NUM_QUESTIONS = 32


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(FOLDER, dtype=torch.float32)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(Tokenizer.from_file(str(FOLDER / "tokenizer.json")))


def test_one_small_file_has_all_weights_in_bfloat16() -> None:
    (path,) = FOLDER.glob("*.safetensors")
    assert path.name == "model.safetensors" and path.stat().st_size <= MAX_BYTES
    with safe_open(path, "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_the_config_is_the_one_that_the_script_trains() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    wanted = model_config().to_dict()
    for part in ("text_config", "vision_config"):
        differing = {key for key in config[part] if config[part][key] != wanted[part].get(key)}
        assert differing <= {"dtype"}


@pytest.mark.parametrize("task", LEAST)
def test_it_answers_held_out_questions(model: Qwen2_5_VLForConditionalGeneration, reader: Reader, task: str) -> None:
    num_questions = 4 if task == "recall_4k" else NUM_QUESTIONS
    right = num_right(model, reader, (held_out(task, index) for index in range(num_questions)))
    assert right >= LEAST[task] * num_questions


def test_a_generated_story_is_one_of_ours(model: Qwen2_5_VLForConditionalGeneration, reader: Reader) -> None:
    turn = held_out("story", 0).last
    batch = batch_of([reader.prompt(held_out("story", 0))])
    with torch.no_grad():
        tokens = model.eval().generate(batch.token_ids, max_new_tokens=300, do_sample=False)
    answer = reader.decode(tokens[0, batch.token_ids.shape[1] :].tolist())
    assert is_right(turn, answer)
