"""Held-out accuracy: the share of questions whose whole answer greedy decoding would say."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from penstock_loadgen.questions.dialogue import Dialogue
from training.batches import Batch, batch_of, split_by_length
from training.examples import Example, Reader
from training.loss import forward

_MAX_BATCH_TOKENS = 4096


@torch.no_grad()
def num_right(model: Qwen2_5_VLForConditionalGeneration, reader: Reader, dialogues: Iterable[Dialogue]) -> int:
    """Every token of the last answer, and the end of the turn, is the likeliest after what is right before it."""
    examples = [_last_answer_only(reader, dialogue) for dialogue in dialogues]
    model.eval()
    right = sum(int(_is_right(model, batch_of(group)).sum()) for group in split_by_length(examples, _MAX_BATCH_TOKENS))
    model.train()
    return right


def _last_answer_only(reader: Reader, dialogue: Dialogue) -> Example:
    """Earlier answers are given, as a client would send them."""
    whole, num_given = reader.example(dialogue), len(reader.prompt(dialogue))
    weights: Sequence[float] = [0.0] * num_given + whole.weights[num_given:]
    return replace(whole, weights=list(weights))


def _is_right(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    is_wanted = batch.weights[:, 1:] > 0
    logits = model.lm_head(forward(model, batch).last_hidden_state[:, :-1][is_wanted])
    is_same = logits.argmax(-1) == batch.token_ids[:, 1:][is_wanted]
    is_hit = torch.ones_like(is_wanted)
    is_hit[is_wanted] = is_same
    return is_hit.all(1)
