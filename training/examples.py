"""Dialogues as the model reads them: token ids, patches, positions, and which tokens the loss is taken on."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer

from penstock.engine.tiny.tokenizer import TURN_END, TURN_START
from penstock_loadgen.questions.dialogue import Dialogue, Part
from penstock_loadgen.questions.drawing import draw
from penstock_loadgen.questions.scenes import Scene
from penstock_loadgen.questions.words import DIGITS
from training.pixels import MERGE_SIZE, Grid, Patches, patches_of
from training.tokenizer import IMAGE_PAD, VISION_END, VISION_START

STORY_WEIGHT = 0.15  # most of a story is drawn at random and cannot be learned
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")
CODE_WEIGHT = 3.0  # the sentence around a code is soon known by heart


@dataclass(frozen=True, slots=True)
class Picture:
    """`names[i]` are the tokens for colour and shape of the figure whose middle lies in token i; 0, if none does.

    `places[i]` are those for where token i lies: "top", "middle" or "bottom", and "left", "middle" or "right".
    """

    patches: Patches
    grid: Grid
    names: list[tuple[int, int]]
    places: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Example:
    """One dialogue. `weights[i]` is that of predicting token i; `positions` are [3, num_tokens]."""

    token_ids: list[int]
    weights: list[float]
    positions: np.ndarray
    pictures: list[Picture]

    def __len__(self) -> int:
        return len(self.token_ids)


class Reader:
    """Turns dialogues into examples."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._digits = {self._word(f"{space}{digit}") for digit in DIGITS for space in ("", " ")}

    def prompt(self, dialogue: Dialogue) -> Example:
        """All but the answer of the last turn."""
        return self._example(dialogue, has_answer=False)

    def example(self, dialogue: Dialogue) -> Example:
        """All of it."""
        return self._example(dialogue, has_answer=True)

    def encode(self, text: str) -> list[int]:
        """Special tokens are recognised."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Without special tokens."""
        return str(self._tokenizer.decode(list(token_ids)))

    def _example(self, dialogue: Dialogue, has_answer: bool) -> Example:
        pieces: list[tuple[list[int], float]] = []
        pictures: list[Picture] = []
        if dialogue.system:
            pieces.append((self.encode(f"{TURN_START}system\n{dialogue.system}{TURN_END}\n"), 0.0))
        for turn in dialogue.turns:
            new = [self.picture(scene) for scene in turn.scenes]
            pictures += new
            pieces.append((self.encode(self._asked(turn.asked, new)), 0.0))
            if has_answer or turn is not dialogue.turns[-1]:
                pieces += [([token], self._weight(turn.task, token)) for token in self.encode(turn.answer + TURN_END)]
                pieces.append((self.encode("\n"), 0.0))
        token_ids = [token for ids, _ in pieces for token in ids]
        weights = [weight for ids, weight in pieces for _ in ids]
        positions = self._positions(token_ids, [picture.grid for picture in pictures])
        return Example(token_ids, weights, positions, pictures)

    def picture(self, scene: Scene) -> Picture:
        """A scene, and what its tokens are to be near to."""
        patches, grid = patches_of(draw(scene))
        rows, columns = (side // MERGE_SIZE for side in grid)
        names = [(0, 0)] * (rows * columns)
        for figure in scene.figures:
            row = int((figure.top + figure.size / 2) / scene.height * rows)
            column = int((figure.left + figure.size / 2) / scene.width * columns)
            shape = figure.shape if figure.shape.isdigit() else f" {figure.shape}"
            names[row * columns + column] = (self._word(f" {figure.colour}"), self._word(shape))
        down, across = (
            [self._word(f" {words[3 * index // number]}") for index in range(number)]
            for number, words in ((rows, _ROWS), (columns, _COLUMNS))
        )
        return Picture(patches, grid, names, [(row, column) for row in down for column in across])

    def _weight(self, task: str, token: int) -> float:
        if task == "recall" and token in self._digits:
            return CODE_WEIGHT
        return STORY_WEIGHT if task == "story" else 1.0

    def _word(self, word: str) -> int:
        (token,) = self.encode(word)
        return token

    def _asked(self, parts: Sequence[Part], pictures: list[Picture]) -> str:
        grids = iter(picture.grid for picture in pictures)
        texts = []
        for part in parts:
            if isinstance(part, Scene):
                texts.append(VISION_START + IMAGE_PAD * num_tokens_of(next(grids)) + VISION_END)
            else:
                texts.append(part)
        return f"{TURN_START}user\n{''.join(texts)}{TURN_END}\n{TURN_START}assistant\n"

    def _positions(self, token_ids: list[int], grids: list[Grid]) -> np.ndarray:
        """M-RoPE: text counts on in all three rows; a picture's tokens share their time and count rows and columns."""
        pad = self._tokenizer.token_to_id(IMAGE_PAD)
        out = np.empty((3, len(token_ids)), np.int64)
        next_grid, at, position = iter(grids), 0, 0
        while at < len(token_ids):
            if token_ids[at] != pad:
                out[:, at] = position
                at, position = at + 1, position + 1
                continue
            rows, columns = (side // MERGE_SIZE for side in next(next_grid))
            place = np.indices((1, rows, columns)).reshape(3, -1)
            out[:, at : at + rows * columns] = place + position
            at, position = at + rows * columns, position + max(rows, columns)
        return out


def num_tokens_of(grid: Grid) -> int:
    """How many tokens a picture becomes."""
    return grid[0] * grid[1] // MERGE_SIZE**2


def stretched(random: Random, example: Example, max_position: int) -> Example:
    """With holes in its positions between sentences: far distances are learned from short texts."""
    num_holes = random.randint(1, 4)
    room = max_position - int(example.positions.max())
    if room <= 0 or len(example) < 16:
        return example
    at = sorted(random.randrange(1, len(example)) for _ in range(num_holes))
    positions = example.positions.copy()
    for place in at:
        positions[:, place:] += random.randint(0, room // num_holes)
    return Example(example.token_ids, example.weights, positions, example.pictures)
