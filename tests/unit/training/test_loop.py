"""A small model learns within seconds, and goes on after an interruption as if there had been none."""

from itertools import count
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from training.examples import Reader
from training.loop import Trainer, rate_at
from training.model import new_model
from training.muon import orthogonalised
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


def trainer_of(tokenizer: Tokenizer, total_s: float = 1e6) -> Trainer:
    return Trainer(new_model(1, is_micro=True), Reader(tokenizer), seed=1, total_s=total_s, step_tokens=400)


def test_a_few_steps_lower_the_loss(tokenizer: Tokenizer) -> None:
    trainer = trainer_of(tokenizer)
    losses = [trainer.step() for _ in range(24)]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_training_ends_when_its_time_is_over(tokenizer: Tokenizer) -> None:
    trainer = trainer_of(tokenizer, total_s=3.0)
    ticks = count()
    assert len(list(trainer.run(now_s=lambda: float(next(ticks))))) == 3
    assert trainer.progress == 1


def test_a_resumed_run_takes_the_step_that_the_other_would_have_taken(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = trainer_of(tokenizer)
    assert not first.resume(tmp_path)
    first.step()
    first.save(tmp_path)
    second = trainer_of(tokenizer)
    assert second.resume(tmp_path) and second.num_steps == 1
    assert second.step() == pytest.approx(first.step(), rel=1e-4)


def test_the_rate_warms_up_stays_and_falls() -> None:
    assert rate_at(0, 0.0) < 0.01 * rate_at(1000, 0.0)
    assert rate_at(1000, 0.0) == rate_at(1000, 0.5) > rate_at(1000, 0.9) > rate_at(1000, 1.0) > 0


@pytest.mark.parametrize("shape", [(32, 32), (48, 16), (16, 48)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.shape[0] == min(shape)
    assert values.min() > 0.3 and values.max() < 1.4
