"""The loop: draw, step, and keep what is needed to go on after an interruption."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from training.batches import batch_of, pictures_of, split_by_length
from training.curriculum import Stage, draw_dialogue, draw_long_dialogue, draw_scenes, has_long_dialogue, stage_at
from training.examples import Example, Reader, stretched
from training.loss import naming_loss, summed_loss
from training.muon import Muon
from training.peers import Peers

PEAK_RATE, LAST_SHARE, LEVEL_UNTIL = 2e-3, 0.02, 0.7
MATRIX_FACTOR = 2.0  # what Muon's rate is above AdamW's
WARM_UP_STEPS = 150
WEIGHT_DECAY = 0.05
STEP_TOKENS, BATCH_TOKENS = 3000, 768
MAX_POSITION = 4600
CHECKPOINT = "checkpoint.pt"


@dataclass
class Trainer:
    """A model on its way. Time, not steps, is what a run is given, so that it ends when it must on any machine."""

    model: Qwen2_5_VLForConditionalGeneration
    reader: Reader
    seed: int
    total_s: float
    peers: Peers = field(default_factory=Peers)
    step_tokens: int = STEP_TOKENS
    elapsed_s: float = 0.0
    num_steps: int = 0
    num_tokens: int = 0
    num_drawn: int = 0
    optimizers: tuple[torch.optim.Optimizer, ...] = field(init=False)

    def __post_init__(self) -> None:
        weights = dict(self.model.named_parameters())
        matrices = [one for name, one in weights.items() if one.dim() == 2 and "embed_tokens" not in name]
        others = [one for name, one in weights.items() if one.dim() != 2 or "embed_tokens" in name]
        adam = torch.optim.AdamW(others, PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.optimizers = (Muon(matrices, PEAK_RATE, WEIGHT_DECAY, self.peers), adam)

    @property
    def progress(self) -> float:
        """Share of the time that is over."""
        return min(1.0, self.elapsed_s / self.total_s)

    @property
    def _draw_index(self) -> int:
        """A number of its own for each step of each process."""
        return self.num_steps * self.peers.number + self.peers.rank

    def run(self, now_s: Callable[[], float] = time.monotonic) -> Iterator[float]:
        """Yield the loss of each step until the time is over."""
        began_s = now_s() - self.elapsed_s
        while self.progress < 1:
            yield self.step()
            self.elapsed_s = self.peers.first_says(now_s() - began_s)

    def step(self) -> float:
        """One update of the weights; the mean loss before it."""
        stage = stage_at(self.progress)
        examples = list(self._draw(stage))
        loss, total = torch.zeros(1), torch.tensor([sum(sum(one.weights) for one in examples)])
        self.peers.add_up([total])
        for group in split_by_length(examples, BATCH_TOKENS):
            batch = batch_of(group)
            part = summed_loss(self.model, batch) / total
            part.backward()
            loss += part.detach()
            self.num_tokens += batch.token_ids.numel() * self.peers.number
        if stage.num_scenes:
            pictures = [self.reader.picture(scene) for scene in draw_scenes(stage, self.seed, self._draw_index)]
            (naming_loss(self.model, pictures_of(pictures)) / total).backward()
        self.peers.add_up([loss, *self._gradients()])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rate = rate_at(self.num_steps, self.progress)
        for optimizer, factor in zip(self.optimizers, (MATRIX_FACTOR, 1.0), strict=True):
            for settings in optimizer.param_groups:
                settings["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        self.num_steps += 1
        return float(loss)

    def _draw(self, stage: Stage) -> Iterator[Example]:
        """This process's share of a step; no two processes draw the same."""
        num_tokens, random = 0, Random(f"step {self.seed} {self._draw_index}")
        if has_long_dialogue(stage, self.seed, self.num_steps):
            yield self.reader.example(draw_long_dialogue(stage, self.seed, self._draw_index))
        while num_tokens < self.step_tokens / self.peers.number:
            example = self.reader.example(draw_dialogue(stage, self.seed, self.num_drawn + self.peers.rank))
            self.num_drawn += self.peers.number
            num_tokens += len(example)
            yield stretched(random, example, MAX_POSITION) if random.random() < stage.stretched_share else example

    def _gradients(self) -> Iterator[torch.Tensor]:
        for weight in self.model.parameters():
            if weight.grad is None:  # no pictures in this share of the step
                weight.grad = torch.zeros_like(weight)
            yield weight.grad

    def save(self, folder: Path) -> None:
        """Everything that `resume` needs; what was saved before stays whole if this is interrupted."""
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f"{CHECKPOINT}.new"
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save({**self._counts(), "model": self.model.state_dict(), "optimizers": optimizers}, scratch)
        scratch.rename(folder / CHECKPOINT)

    def resume(self, folder: Path) -> bool:
        """Go on from what was saved, if anything was."""
        if not (folder / CHECKPOINT).exists():
            return False
        saved: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
        self.model.load_state_dict(saved.pop("model"))
        for optimizer, state in zip(self.optimizers, saved.pop("optimizers"), strict=True):
            optimizer.load_state_dict(state)
        for name, value in saved.items():
            setattr(self, name, value)
        return True

    def _counts(self) -> dict[str, float]:
        names = ("elapsed_s", "num_steps", "num_tokens", "num_drawn")
        return {name: getattr(self, name) for name in names}


def rate_at(num_steps: int, progress: float) -> float:
    """Learning rate: warm-up by steps, then level, then straight down."""
    share = 1 - (1 - LAST_SHARE) * max(0.0, progress - LEVEL_UNTIL) / (1 - LEVEL_UNTIL)
    return PEAK_RATE * share * min(1.0, (num_steps + 1) / WARM_UP_STEPS)
