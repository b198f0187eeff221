"""One forward pass, and the loss on answers."""

from typing import Any

import torch
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from training.batches import Batch, PictureBatch

NAMING_WEIGHT = 2.0  # of a token of a picture, beside one of an answer
_EMPTY_WEIGHT = 0.1
PLACING_WEIGHT = 0.5
"""Of where a token of a picture lies: the language model sees that only in turned angles."""


def forward(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> Any:
    """What `transformers` calls the output: hidden states, and what pictures became."""
    return model.model(
        input_ids=batch.token_ids,
        position_ids=batch.positions,
        pixel_values=batch.pictures.pixels if batch.pictures else None,
        image_grid_thw=batch.pictures.grids if batch.pictures else None,
        use_cache=False,
    )


def summed_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Cross entropy of every token that has a weight, weighted and summed; and that of naming what a picture shows."""
    output = forward(model, batch)
    weights = batch.weights[:, 1:]
    is_wanted = weights > 0
    logits = model.lm_head(output.last_hidden_state[:, :-1][is_wanted])
    each = functional.cross_entropy(logits, batch.token_ids[:, 1:][is_wanted], reduction="none")
    loss = (each * weights[is_wanted]).sum()
    if batch.pictures is None:
        return loss
    at_pictures = output.last_hidden_state[batch.token_ids == model.config.image_token_id]
    placing = -PLACING_WEIGHT * _likelihoods(model, at_pictures, batch.pictures.places).sum()
    return loss + placing + _naming(model, torch.cat(tuple(output.image_outputs.pooler_output)), batch.pictures.names)


def naming_loss(model: Qwen2_5_VLForConditionalGeneration, pictures: PictureBatch) -> torch.Tensor:
    """For pictures that nothing is asked about: the vision tower alone, far cheaper than a dialogue."""
    features = model.model.visual(pictures.pixels, grid_thw=pictures.grids).pooler_output
    return _naming(model, features, pictures.names)


def _naming(model: Qwen2_5_VLForConditionalGeneration, features: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """What the vision tower says is to be near the words for it: it learns to see long before questions teach it to."""
    weights = torch.where(names[:, 0] > 0, 1.0, _EMPTY_WEIGHT)
    return -NAMING_WEIGHT * (_likelihoods(model, features, names) * weights).sum()


def _likelihoods(model: Qwen2_5_VLForConditionalGeneration, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Mean log likelihood of the words that belong to each row."""
    return torch.as_tensor(model.lm_head(hidden).log_softmax(-1).gather(1, words).mean(1))
