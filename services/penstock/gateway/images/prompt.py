"""A prompt with the places of its images widened to what the engine sees: one token for each embedding.

from the template   The red [ P ] is ...           P: the placeholder token, once for each image
for the engine      The red [ P P P P P P ] is     as many as the image has embeddings; its ImageSpan says where
"""

from collections.abc import Sequence
from typing import NamedTuple

from penstock.core.errors import InvalidRequest
from penstock.core.image_size import Grid
from penstock.core.images import ImageSpan
from penstock.gateway.images.vision import Vision


class ImageFile(NamedTuple):
    """One image, checked and measured."""

    file: bytes
    grid: Grid
    content_hash: bytes


class PromptImage(NamedTuple):
    """One image in its place."""

    span: ImageSpan
    file: bytes


class Prompt(NamedTuple):
    """What is generated from."""

    token_ids: Sequence[int]
    images: Sequence[PromptImage] = ()


def check_places(token_ids: Sequence[int], num_images: int, vision: Vision) -> None:
    """Refuse before any image is fetched: there must be one place for each."""
    num_places = token_ids.count(vision.placeholder_id)
    if num_places != num_images:
        raise InvalidRequest(
            f"The prompt has {num_places} places for {num_images} images. Either the model's chat template cannot put "
            "images into these messages, or a text spells the token that stands for one.",
            "messages",
        )


def place_images(token_ids: Sequence[int], images: Sequence[ImageFile], vision: Vision) -> Prompt:
    """Widen the place of each image; `check_places` has passed."""
    widened: list[int] = []
    placed: list[PromptImage] = []
    begin = 0
    for image in images:
        place = token_ids.index(vision.placeholder_id, begin)
        widened += token_ids[begin:place]
        num_tokens = vision.num_tokens(image.grid)
        span = ImageSpan(len(widened), num_tokens, image.content_hash, image.grid)
        placed.append(PromptImage(span, image.file))
        widened += [vision.placeholder_id] * num_tokens
        begin = place + 1
    widened += token_ids[begin:]
    return Prompt(widened, tuple(placed))
