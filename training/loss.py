"""One forward pass, and the loss on answers."""

import torch
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from training.batches import Batch


def hidden_states(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """[num_examples, num_tokens, hidden]."""
    output = model.model(
        input_ids=batch.token_ids,
        position_ids=batch.positions,
        pixel_values=batch.pixels,
        image_grid_thw=batch.grids,
        use_cache=False,
    )
    return output.last_hidden_state  # type: ignore[no-any-return]


def summed_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Cross entropy of every token that has a weight, weighted and summed."""
    weights = batch.weights[:, 1:]
    is_wanted = weights > 0
    logits = model.lm_head(hidden_states(model, batch)[:, :-1][is_wanted])
    each = functional.cross_entropy(logits, batch.token_ids[:, 1:][is_wanted], reduction="none")
    return (each * weights[is_wanted]).sum()
