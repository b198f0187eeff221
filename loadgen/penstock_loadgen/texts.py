"""Real prompts from files: what users said, and how long the answers were.

sharegpt   JSON: a list of {"conversations": [{"from": "human" | "gpt", "value": TEXT}, ...]}, as ShareGPT is passed on
jsonl      JSON lines: {"prompt": TEXT, "output_tokens": N}; further keys are ignored
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from penstock.core.errors import InvalidSettings

CHARACTERS_PER_TOKEN = 4  # of English, roughly; the server's own count is what reports show
DEFAULT_OUTPUT_TOKENS = 128


@dataclass(frozen=True, slots=True)
class TextSpec:
    """Conversations are drawn at random, with replacement. `max_turns` 0: as many as they have."""

    kind: str
    path: str
    max_turns: int = 0
    output_tokens: int = 0  # of every answer, instead of the file's; 0: the file's

    def __post_init__(self) -> None:
        if self.kind not in _READERS:
            raise InvalidSettings("texts.kind", self.kind, f"must be one of {', '.join(_READERS)}")


@dataclass(frozen=True, slots=True)
class Said:
    """One question, and the length of its answer."""

    text: str
    num_output_tokens: int


Conversation = tuple[Said, ...]


def read_texts(spec: TextSpec) -> list[Conversation]:
    """Every conversation of the file that has a question in it."""
    try:
        with Path(spec.path).open(encoding="utf8") as file:
            read = [conversation for conversation in _READERS[spec.kind](file) if conversation]
    except OSError as error:
        raise InvalidSettings("texts.path", spec.path, error.strerror or "cannot be read") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidSettings("texts.path", spec.path, f"is no {spec.kind} file ({error!r})") from error
    if not read:
        raise InvalidSettings("texts.path", spec.path, "has no question in it")
    return [tuple(_trimmed(said, spec) for said in turns[: spec.max_turns or None]) for turns in read]


def num_tokens_of(text: str) -> int:
    """An estimate, at least 1."""
    return max(1, round(len(text) / CHARACTERS_PER_TOKEN))


def said_in(row: dict[str, Any]) -> Said:
    """A line of the `jsonl` kind."""
    prompt = row["prompt"]
    if not isinstance(prompt, str):
        raise TypeError("prompt must be text")
    return Said(prompt, max(1, int(row.get("output_tokens", DEFAULT_OUTPUT_TOKENS))))


def _trimmed(said: Said, spec: TextSpec) -> Said:
    return Said(said.text, spec.output_tokens) if spec.output_tokens else said


def _sharegpt(file: TextIO) -> Iterator[Conversation]:
    for entry in json.load(file):
        turns: list[Said] = []
        question = ""
        for line in entry.get("conversations", ()):
            if line["from"] in ("human", "user"):
                question = line["value"]
            elif line["from"] in ("gpt", "assistant", "chatgpt") and question:
                turns.append(Said(question, num_tokens_of(line["value"])))
                question = ""
        yield tuple(turns)


def _jsonl(file: TextIO) -> Iterator[Conversation]:
    for line in file:
        if line.strip():
            yield (said_in(json.loads(line)),)


_READERS: dict[str, Callable[[TextIO], Iterator[Conversation]]] = {"sharegpt": _sharegpt, "jsonl": _jsonl}
