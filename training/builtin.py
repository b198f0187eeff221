"""Train the built-in model: python -m training.builtin --minutes 90 --seed 0 --out FOLDER

Goes on where an interrupted run in the same folder stopped. Every few minutes the folder holds a model that can be
served: weights, tokenizer, and the files that go with them.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from random import Random

import torch

from penstock.engine.tiny.tokenizer import write_tokenizer
from penstock_loadgen.questions.tasks import TASKS
from training.evaluate import num_right
from training.examples import Reader
from training.loop import Trainer
from training.model import MAX_CONTEXT_TOKENS, new_model, write_model
from training.peers import Peers, run_together
from training.tokenizer import CHAT_TEMPLATE, train_tokenizer

LOG_STEPS = 50
SAVE_S = 300.0
_NUM_CHECKED = {"recall_1k": 8, "recall_4k": 2}


def main() -> None:
    """Train until the time is over."""
    given = _parser().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    run_together(given.processes, given.out / "peers", partial(train, given.out, given.minutes, given.seed))


def train(folder: Path, minutes: float, seed: int, peers: Peers) -> None:
    """One of the processes that do it."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    trainer = Trainer(new_model(seed), Reader(tokenizer), seed, minutes * 60, peers)
    is_resumed = trainer.resume(folder)
    if peers.is_first:
        if is_resumed:
            _say(f"goes on after {trainer.elapsed_s / 60:.1f} minutes and {trainer.num_steps} steps")
        write_tokenizer(tokenizer, folder, MAX_CONTEXT_TOKENS, CHAT_TEMPLATE)
    log, saved_s = Log(trainer), trainer.elapsed_s
    for loss in trainer.run():
        if not peers.is_first:
            continue
        log.add(loss)
        if trainer.elapsed_s - saved_s > SAVE_S:
            saved_s = trainer.elapsed_s
            _keep(trainer, folder)
    if peers.is_first:
        _keep(trainer, folder)


class Log:
    """A line every few steps."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._losses: list[float] = []
        self._mark()

    def add(self, loss: float) -> None:
        """After each step."""
        self._losses.append(loss)
        if len(self._losses) < LOG_STEPS:
            return
        one, mean = self._trainer, sum(self._losses) / len(self._losses)
        speed = (one.num_tokens - self._tokens) / max(1e-9, one.elapsed_s - self._at_s)
        _say(f"{one.elapsed_s / 60:6.1f} min  step {one.num_steps:6}  loss {mean:.3f}  {speed:.0f} tokens/s")
        self._losses.clear()
        self._mark()

    def _mark(self) -> None:
        self._at_s, self._tokens = self._trainer.elapsed_s, self._trainer.num_tokens


def _keep(trainer: Trainer, folder: Path) -> None:
    trainer.save(folder)
    write_model(trainer.model, folder)
    began_s = time.monotonic()
    shares = []
    for task, make in TASKS.items():
        number = _NUM_CHECKED.get(task, 24)
        if task == "story" or (task == "recall_4k" and trainer.progress < 0.5):
            continue
        dialogues = [make(Random(f"validation {task} {index}")) for index in range(number)]
        shares.append(f"{task} {num_right(trainer.model, trainer.reader, dialogues) / number:.0%}")
    _say(f"{', '.join(shares)} ({time.monotonic() - began_s:.0f} s)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training.builtin", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=90.0, help="of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument("--processes", type=int, default=2, help="that share the work (default: %(default)s)")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
