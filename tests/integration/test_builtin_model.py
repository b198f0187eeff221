"""The trained weights in the package: what files there are, and that they still see and recall."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import penstock.engine
from penstock_loadgen.questions.drawing import draw
from penstock_loadgen.questions.grading import is_right
from penstock_loadgen.questions.tasks import held_out
from training.batches import batch_of
from training.evaluate import num_right
from training.examples import Reader
from training.model import model_config
from training.pixels import patches_of

FOLDER = Path(penstock.engine.__file__).parent / "builtin"
MAX_BYTES = 12_000_000
LEAST = {"recall": 0.9, "recall_1k": 0.9, "recall_4k": 0.5, "later_code": 0.9, "digit": 0.65, "presence": 0.5}
"""Well below what the card says: another processor rounds differently. Other tasks are not learned well enough yet."""
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


def test_its_image_processor_makes_the_patches_that_it_was_trained_on() -> None:
    picture = draw(held_out("count", 0).last.scenes[0]).resize((70, 90))
    made = Qwen2VLImageProcessorPil.from_pretrained(FOLDER)(picture, return_tensors="np")
    patches, grid = patches_of(picture)
    assert tuple(made["image_grid_thw"][0]) == (1, *grid)
    np.testing.assert_allclose(patches, made["pixel_values"], atol=1e-5)


@pytest.mark.parametrize("task", LEAST)
def test_it_answers_held_out_questions(model: Qwen2_5_VLForConditionalGeneration, reader: Reader, task: str) -> None:
    num_questions = 4 if task == "recall_4k" else NUM_QUESTIONS
    right = num_right(model, reader, (held_out(task, index) for index in range(num_questions)))
    assert right >= LEAST[task] * num_questions


def test_what_it_tells_is_made_of_our_sentences(model: Qwen2_5_VLForConditionalGeneration, reader: Reader) -> None:
    dialogue = held_out("story", 0)
    batch = batch_of([reader.prompt(dialogue)])
    with torch.no_grad():
        tokens = model.eval().generate(batch.token_ids, max_new_tokens=120, do_sample=False)
    told = reader.decode(tokens[0, batch.token_ids.shape[1] :].tolist())
    whole_sentences = told[: told.rindex(".") + 1]  # with greedy decoding it may not come to an end
    assert is_right(dialogue.last, whole_sentences)
