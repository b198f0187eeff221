"""What the gateway reads of a model folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import InvalidRequest, InvalidSettings, UnsupportedModel
from penstock.gateway.model_folder import load_model_folder, max_context_tokens
from tests.gateway_fakes import TEMPLATE, byte_level_tokenizer


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({}, 2048),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        ({"max_position_embeddings": 32768, "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 131072),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
    ],
)
def test_context_length_follows_the_rope_scaling(config: dict[str, Any], expected: int) -> None:
    assert max_context_tokens(config) == expected


def write_folder(folder: Path, tokenizer_config: dict[str, Any] | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "vocab_size": 500}))
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    if tokenizer_config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "chat_template", [TEMPLATE, [{"name": "tool_use", "template": "no"}, {"name": "default", "template": TEMPLATE}]]
)
def test_a_template_may_be_one_or_several_by_name(tmp_path: Path, chat_template: Any) -> None:
    folder = write_folder(tmp_path, {"chat_template": chat_template, "bos_token": {"content": "<s>"}})
    model = load_model_folder(folder, "", 0)
    assert (model.name, model.max_context_tokens, model.tokenizer.vocab_size) == (tmp_path.name, 64, 500)
    assert model.tokenizer.render_chat(MESSAGES, {}) == "<|im_start|>user\nHi<|im_end|>\n"


def test_a_template_file_wins(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"chat_template": "no", "bos_token": {"content": "<s>"}})
    (folder / "chat_template.jinja").write_text("{{ bos_token }}yes")
    assert load_model_folder(folder, "named", 0).tokenizer.render_chat(MESSAGES, {}) == "<s>yes"


def test_without_a_template_chat_is_refused_and_says_what_works(tmp_path: Path) -> None:
    model = load_model_folder(write_folder(tmp_path), "named", 0)
    assert model.name == "named"
    with pytest.raises(InvalidRequest, match="/v1/completions"):
        model.tokenizer.render_chat(MESSAGES, {})


def test_a_folder_that_is_no_model_stops_the_process(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"config\.json"):
        load_model_folder(tmp_path, "", 0)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match="not valid JSON"):
        load_model_folder(tmp_path, "", 0)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json"):
        load_model_folder(tmp_path, "", 0)
