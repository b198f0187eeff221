"""Real prompts from files."""

import json
from pathlib import Path

import pytest

from penstock.core.errors import InvalidSettings
from penstock_loadgen.texts import TextSpec, read_texts

_SHAREGPT = [
    {
        "id": "a",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Why is the sky blue?"},
            {"from": "gpt", "value": "x" * 40},
            {"from": "human", "value": "And at night?"},
            {"from": "gpt", "value": "y" * 80},
            {"from": "human", "value": "nobody answered this"},
        ],
    },
    {"id": "b", "conversations": [{"from": "gpt", "value": "an answer without a question"}]},
]


def test_sharegpt_conversations_become_turns_with_the_length_of_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps(_SHAREGPT))
    (conversation,) = read_texts(TextSpec("sharegpt", str(path)))
    assert [(said.text, said.num_output_tokens) for said in conversation] == [
        ("Why is the sky blue?", 10),
        ("And at night?", 20),
    ]
    (shorter,) = read_texts(TextSpec("sharegpt", str(path), max_turns=1, output_tokens=7))
    assert [(said.text, said.num_output_tokens) for said in shorter] == [("Why is the sky blue?", 7)]


def test_lines_of_prompts_are_sessions_of_one_turn(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one", "output_tokens": 5}\n\n{"prompt": "two", "source": "ignored"}\n')
    first, second = read_texts(TextSpec("jsonl", str(path)))
    assert (first[0].text, first[0].num_output_tokens) == ("one", 5)
    assert (second[0].text, second[0].num_output_tokens) == ("two", 128)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("sharegpt", "{}"),
        ("sharegpt", '[{"conversations": [{"value": 1}]}]'),
        ("jsonl", '{"text": "x"}'),
        ("jsonl", ""),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, kind: str, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(InvalidSettings, match="other"):
        read_texts(TextSpec(kind, str(path)))


def test_a_missing_file_and_an_unknown_kind_are_named() -> None:
    with pytest.raises(InvalidSettings, match="nowhere"):
        read_texts(TextSpec("jsonl", "/nowhere"))
    with pytest.raises(InvalidSettings, match="kind"):
        TextSpec("xml", "/nowhere")
