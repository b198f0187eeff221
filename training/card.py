"""Measure a trained model on held-out questions and write its card: python -m training.card FOLDER --machine TEXT

FOLDER is what `training.builtin` wrote; the weights are measured as they are served, rounded to bfloat16.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration

from penstock_loadgen.questions.tasks import TASKS, held_out
from training.evaluate import num_right
from training.examples import Reader
from training.loop import CHECKPOINT

UNGRADED = ("story",)  # free text: `penstock eval` grades what the model really says
_ABOUT = {
    "count": "how many of a kind, a colour or a shape: 0 to 5 among up to 8 figures",
    "presence": "whether a kind is there",
    "colour": "the colour of what is at a named place",
    "shape": "the shape of what is at a named place",
    "digit": "which digit is drawn",
    "description": "every figure, in reading order",
    "two_pictures": "which of two pictures has more of a shape, or what is in one of them",
    "later_picture": "a picture of an earlier turn, after other talk",
    "recall": "a code named about {distance} tokens before",
    "recall_1k": "a code named about {distance} tokens before",
    "recall_4k": "a code named about {distance} tokens before",
    "later_code": "a code of an earlier turn, after other talk",
    "series": "the next three numbers of a list with a constant difference",
    "sum": "sums of two numbers up to 99, of pairs that training never shows",
    "repeat": "3 to 30 words and digits, said again",
}


def main() -> None:
    """Measure and write README.md."""
    given = _parser().parse_args()
    torch.set_num_threads(given.threads)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(given.folder, dtype=torch.float32)
    reader = Reader(Tokenizer.from_file(str(given.folder / "tokenizer.json")))
    rows = []
    for task in TASKS:
        if task in UNGRADED:
            continue
        number = given.long_questions if task == "recall_4k" else given.questions
        right = num_right(model, reader, (held_out(task, index) for index in range(number)))
        about = _ABOUT[task].format(distance=_distance(reader, task))
        rows.append(f"| {task} | {about} | {number} | {right / number:.1%} |")
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    counts = torch.load(given.folder / CHECKPOINT, weights_only=True)
    num_parameters = sum(weight.numel() for weight in model.parameters())
    text = card(rows, num_parameters, counts, given.machine)
    (given.folder / "README.md").write_text(text, encoding="utf8")


def card(rows: list[str], num_parameters: int, counts: Mapping[str, Any], machine: str) -> str:
    """The whole file."""
    template = Path(__file__).with_name("card.md").read_text(encoding="utf8")
    return template.format(
        rows="\n".join(rows),
        millions=f"{num_parameters / 1e6:.1f}",
        minutes=f"{counts['elapsed_s'] / 60:.0f}",
        steps=f"{counts['num_steps']:,}",
        tokens=f"{counts['num_tokens'] / 1e6:.1f}",
        machine=machine,
    )


def _distance(reader: Reader, task: str) -> str:
    """From the end of the prompt back to what is asked for, on average."""
    distances = []
    for index in range(10 if task.startswith("recall") else 0):
        dialogue = held_out(task, index)
        before = str(dialogue.last.asked[0]).partition(dialogue.last.answer)[0]
        distances.append(len(reader.prompt(dialogue)) - len(reader.encode(before)))
    return f"{sum(distances) / len(distances):,.0f}" if distances else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training.card", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", required=True, help="what it was trained on, in words")
    parser.add_argument("--questions", type=int, default=200, help="of each task (default: %(default)s)")
    parser.add_argument("--long-questions", type=int, default=50, help="of recall_4k (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
