"""The model: Qwen2.5-VL as `transformers` has it, a thousandth of its size."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from penstock.engine.tiny.tokenizer import TURN_END
from training.pixels import MAX_PIXELS, MEAN, MERGE_SIZE, MIN_PIXELS, PATCH_SIZE, STD, TEMPORAL_PATCH_SIZE
from training.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE

MAX_CONTEXT_TOKENS = 8192
_ID = {token: index for index, token in enumerate(SPECIAL_TOKENS)}

TEXT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_CONTEXT_TOKENS,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.05,  # narrow layers start too quiet with the usual 0.02
    "tie_word_embeddings": True,
    # Rows and columns of a picture are few: only fast turning angles tell them apart.
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0, "mrope_section": [1, 1, 14]},
    "bos_token_id": None,
    "eos_token_id": _ID[TURN_END],
    "pad_token_id": 0,
}
VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_heads": 3,
    "patch_size": PATCH_SIZE,
    "spatial_merge_size": MERGE_SIZE,
    "temporal_patch_size": TEMPORAL_PATCH_SIZE,
    "initializer_range": 0.05,
    "window_size": 64,
    "fullatt_block_indexes": [1, 3],
    "out_hidden_size": TEXT["hidden_size"],
}
MICRO_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
MICRO_VISION = {"depth": 2, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


def model_config(is_micro: bool = False) -> Qwen2_5_VLConfig:
    """The built-in model's, or one for tests that trains in seconds."""
    return Qwen2_5_VLConfig(
        text_config={**TEXT, **(MICRO_TEXT if is_micro else {})},
        vision_config={**VISION, **(MICRO_VISION if is_micro else {})},
        image_token_id=_ID["<|image_pad|>"],
        video_token_id=_ID["<|video_pad|>"],
        vision_start_token_id=_ID["<|vision_start|>"],
        vision_end_token_id=_ID["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def new_model(seed: int, is_micro: bool = False) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights, the same for a seed."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(model_config(is_micro)).float()
    model.train()
    return model


def write_model(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Weights in bfloat16, and every file that says how to use them."""
    copy = Qwen2_5_VLForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    stop = {"eos_token_id": [_ID[TURN_END], 0], "pad_token_id": 0, "do_sample": True}
    _write_json(folder / "generation_config.json", stop)
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": PATCH_SIZE,
        "merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
    _write_json(folder / "preprocessor_config.json", processor)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf8")
