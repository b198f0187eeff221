"""Random checkpoints of models that take images, saved by transformers, and pictures to show them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from penstock.core.image_size import Grid, count_tokens, grid_of, smart_resize
from penstock.core.images import ImageSpan
from tests.seeing_gateway import TEMPLATE, placeholder_id, seeing_vocabulary

IMAGE_TOKEN, START_TOKEN, END_TOKEN, VOCAB_SIZE = 5, 3, 4, 193
PATCH_SIZE, MERGE_SIZE = 14, 2
MIN_PIXELS, MAX_PIXELS = 56 * 56, 200 * 200
HIDDEN_SIZE = 48
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN_SIZE,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 2, 3]},
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_heads": 2,
    "patch_size": PATCH_SIZE,
    "spatial_merge_size": MERGE_SIZE,
    "window_size": 56,  # two by two embeddings
    "out_hidden_size": HIDDEN_SIZE,
    "fullatt_block_indexes": [1, 3],
}


class VisionOracle:
    """A random Qwen2.5-VL of transformers, and its own folder. `image_token` lies between those of start and end.

    vision: over VISION; text: over TEXT
    """

    def __init__(
        self,
        folder: Path,
        max_shard_size: str = "1GB",
        image_token: int | None = None,
        vision: Mapping[str, Any] | None = None,
        **text: Any,
    ) -> None:
        self._image_token = IMAGE_TOKEN if image_token is None else image_token
        torch.manual_seed(7)
        config = Qwen2_5_VLConfig(
            text_config=TEXT | text,
            vision_config=VISION | dict(vision or {}),
            image_token_id=self._image_token,
            vision_start_token_id=START_TOKEN if image_token is None else image_token - 1,
            vision_end_token_id=END_TOKEN if image_token is None else image_token + 1,
            video_token_id=6,
            tie_word_embeddings=text.get("tie_word_embeddings", False),
        )
        self.model: Any = Qwen2_5_VLForConditionalGeneration(config).eval()
        for parameter in self.model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
            else:
                torch.nn.init.normal_(parameter, std=1.2 * parameter[0].numel() ** -0.5)
        self.folder = folder
        self.model.save_pretrained(folder, max_shard_size=max_shard_size)
        self.processor: Any = Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
        self.processor.save_pretrained(folder)

    @torch.inference_mode()
    def embeddings(self, images: Sequence[Image.Image]) -> list[Tensor]:
        inputs = self._images(images)
        output = self.model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        return list(output.pooler_output)

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[int], images: Sequence[Image.Image]) -> Tensor:
        """[num_tokens, vocab], of every token."""
        self.model.model.rope_deltas = None
        logits: Tensor = self.model(**self._inputs(token_ids, images)).logits
        return logits[0]

    def generate(self, prompt: Sequence[int], images: Sequence[Image.Image], num_tokens: int) -> list[int]:
        self.model.model.rope_deltas = None
        inputs = self._inputs(prompt, images)
        output = self.model.generate(**inputs, max_new_tokens=num_tokens, do_sample=False)
        token_ids: list[int] = output[0, len(prompt) :].tolist()
        return token_ids

    def _inputs(self, token_ids: Sequence[int], images: Sequence[Image.Image]) -> dict[str, Tensor]:
        ids = torch.tensor([list(token_ids)])
        types = (ids == self._image_token).int()
        return {"input_ids": ids, "mm_token_type_ids": types, **self._images(images)}

    def _images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        return dict(self.processor(list(images), return_tensors="pt")) if images else {}


def served_oracle(folder: Path, vision: Mapping[str, Any] | None = None, **text: Any) -> VisionOracle:
    """With a tokenizer and a chat template in its folder, so that workers and gateways can serve it."""
    vocabulary = seeing_vocabulary()
    size = vocabulary.get_vocab_size()
    made = VisionOracle(folder, image_token=placeholder_id(), vision=vision, vocab_size=size, **text)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    vocabulary.save(str(folder / "tokenizer.json"))
    return made


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth enough that resizing matters, and unlike any other."""
    coarse = np.random.RandomState(seed).randint(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def grid(image: Image.Image) -> Grid:
    """As a gateway counts it."""
    size = smart_resize(*image.size, PATCH_SIZE * MERGE_SIZE, MIN_PIXELS, MAX_PIXELS)
    return grid_of(*size, PATCH_SIZE)


def prompt_with(parts: Sequence[Sequence[int] | Image.Image]) -> tuple[list[int], list[ImageSpan]]:
    """Token ids and images, as a gateway makes them of text and pictures in this order."""
    token_ids: list[int] = []
    spans: list[ImageSpan] = []
    for part in parts:
        if isinstance(part, Image.Image):
            num_tokens = count_tokens(grid(part), MERGE_SIZE)
            token_ids.append(START_TOKEN)
            spans.append(ImageSpan(len(token_ids), num_tokens, png(part)[-16:], grid(part)))
            token_ids += [IMAGE_TOKEN] * num_tokens + [END_TOKEN]
        else:
            token_ids += part
    return token_ids, spans
