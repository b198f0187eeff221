"""Examples of like length side by side, padded, as tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.examples import Example, Picture


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Pictures one after another."""

    pixels: torch.Tensor  # [num_patches, patch]
    grids: torch.Tensor  # [num_pictures, 3]: time, rows, columns
    names: torch.Tensor  # [num_picture_tokens, 2]: what is there, as tokens
    places: torch.Tensor  # [num_picture_tokens, 2]: where that is, as tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Padding is to the right, so that a causal mask alone hides it."""

    token_ids: torch.Tensor  # [num_examples, num_tokens]
    positions: torch.Tensor  # [3, num_examples, num_tokens]
    weights: torch.Tensor  # [num_examples, num_tokens]
    pictures: PictureBatch | None


def batch_of(examples: Sequence[Example]) -> Batch:
    """All of them in one."""
    longest = max(map(len, examples))
    token_ids = torch.zeros(len(examples), longest, dtype=torch.long)
    positions = torch.zeros(3, len(examples), longest, dtype=torch.long)
    weights = torch.zeros(len(examples), longest)
    for row, one in enumerate(examples):
        token_ids[row, : len(one)] = torch.tensor(one.token_ids)
        positions[:, row, : len(one)] = torch.from_numpy(one.positions)
        weights[row, : len(one)] = torch.tensor(one.weights)
    pictures = [picture for one in examples for picture in one.pictures]
    return Batch(token_ids, positions, weights, pictures_of(pictures) if pictures else None)


def pictures_of(pictures: Sequence[Picture]) -> PictureBatch:
    """All of them in one."""
    return PictureBatch(
        torch.from_numpy(np.concatenate([picture.patches for picture in pictures])),
        torch.tensor([(1, *picture.grid) for picture in pictures]),
        torch.tensor([name for picture in pictures for name in picture.names]),
        torch.tensor([place for picture in pictures for place in picture.places]),
    )


def split_by_length(examples: Sequence[Example], max_tokens: int) -> Iterator[list[Example]]:
    """Groups of like length, each of at most so many tokens with padding, or of one example."""
    group: list[Example] = []
    for one in sorted(examples, key=len):
        if group and len(one) * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(one)
    if group:
        yield group
