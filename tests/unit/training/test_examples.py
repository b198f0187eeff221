"""What the model is shown is what a server would show it: template, patches and positions are those of Qwen2.5-VL."""

from random import Random

import jinja2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from penstock_loadgen.questions.asking import request_body
from penstock_loadgen.questions.dialogue import Dialogue
from penstock_loadgen.questions.drawing import draw
from penstock_loadgen.questions.tasks import TASKS, held_out
from training.batches import batch_of
from training.examples import Reader, num_tokens_of, stretched
from training.model import new_model
from training.pixels import MAX_PIXELS, MEAN, MIN_PIXELS, PATCH_SIZE, STD, patches_of
from training.tokenizer import CHAT_TEMPLATE, IMAGE_PAD, SPECIAL_TOKENS, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLForConditionalGeneration:
    return new_model(0, is_micro=True)


@pytest.mark.parametrize("task", TASKS)
def test_prompts_are_rendered_as_the_chat_template_does(tokenizer: Tokenizer, task: str) -> None:
    dialogue = held_out(task, 1)
    messages = request_body(dialogue, "m")["messages"]
    template = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(CHAT_TEMPLATE)
    prompt = Reader(tokenizer).prompt(dialogue)
    text = tokenizer.decode(prompt.token_ids, skip_special_tokens=False)
    for picture in prompt.pictures:
        text = text.replace(IMAGE_PAD * num_tokens_of(picture.grid), "<picture>", 1)
    wanted = template.render(messages=messages, add_generation_prompt=True).replace(IMAGE_PAD, "<picture>")
    assert text == wanted


@pytest.mark.parametrize("task", ["count", "two_pictures", "later_picture", "sum"])
def test_positions_are_those_of_transformers(
    tokenizer: Tokenizer, model: Qwen2_5_VLForConditionalGeneration, task: str
) -> None:
    for index in range(8):
        example = Reader(tokenizer).example(held_out(task, index))
        batch = batch_of([example])
        is_picture = torch.eq(batch.token_ids, SPECIAL_TOKENS.index(IMAGE_PAD)).int()
        positions, _ = model.model.get_rope_index(
            batch.token_ids, is_picture, batch.pictures.grids if batch.pictures else None
        )
        assert torch.equal(positions, batch.positions)


@pytest.mark.parametrize("index", range(12))
def test_patches_are_those_of_the_image_processor(index: int) -> None:
    picture = draw(held_out("count", index).last.scenes[0])
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    processor = Qwen2VLImageProcessorPil(patch_size=PATCH_SIZE, size=size, image_mean=list(MEAN), image_std=list(STD))
    wanted = processor(picture, return_tensors="np")
    patches, grid = patches_of(picture)
    assert tuple(wanted["image_grid_thw"][0]) == (1, *grid)
    np.testing.assert_allclose(patches, wanted["pixel_values"], atol=1e-5)


def test_tokens_of_a_picture_are_named_by_what_is_there(tokenizer: Tokenizer) -> None:
    for index in range(8):
        scene = held_out("colour", index).last.scenes[0]
        (picture,) = Reader(tokenizer).prompt(held_out("colour", index)).pictures
        assert len(picture.names) == num_tokens_of(picture.grid)
        named = [tokenizer.decode(name) for name in picture.names if name != (0, 0)]
        assert sorted(named) == sorted(f" {figure.name}" for figure in scene.figures)


def test_the_loss_is_on_answers_alone(tokenizer: Tokenizer) -> None:
    dialogue = held_out("later_code", 0)
    example = Reader(tokenizer).example(dialogue)
    learned = [token for token, weight in zip(example.token_ids, example.weights, strict=True) if weight]
    text = tokenizer.decode(learned, skip_special_tokens=False)
    assert text == "".join(f"{turn.answer}<|im_end|>" for turn in dialogue.turns)


def test_every_digit_is_a_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("4821").tokens == ["4", "8", "2", "1"]
    assert tokenizer.encode("is 4821").tokens == ["is", "Ġ4", "8", "2", "1"]


def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer) -> None:
    text = "Grüße, 世界! 🙂\n\tx = 3.14"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_stretching_keeps_the_order_and_leaves_tokens_alone(tokenizer: Tokenizer) -> None:
    example = Reader(tokenizer).example(held_out("recall", 0))
    far = stretched(Random(1), example, 4000)
    assert far.token_ids == example.token_ids
    assert (np.diff(far.positions[0]) >= 1).all()
    assert example.positions.max() < far.positions.max() <= 4000


def test_a_system_message_comes_first(tokenizer: Tokenizer) -> None:
    example = Reader(tokenizer).example(Dialogue(held_out("sum", 0).turns, "Be kind."))
    text = tokenizer.decode(example.token_ids, skip_special_tokens=False)
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n")
