"""What the gateway reads of a model folder: its tokenizer, how long a context may be, what it makes of images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.core.errors import InvalidSettings, UnsupportedModel
from penstock.gateway.api.service import ServedModel
from penstock.gateway.images.vision import load_vision
from penstock.gateway.text.tokenizer import load_tokenizer


def load_model_folder(folder: Path, served_name: str, created_s: int) -> ServedModel:
    """Read the folder; an unusable one stops the process with a sentence."""
    file = folder / "config.json"
    if not file.is_file():
        raise InvalidSettings("model", str(folder), "it is no model folder, for it has no config.json")
    try:
        config = json.loads(file.read_text("utf8"))
    except ValueError as error:
        raise UnsupportedModel(f"{file} is not valid JSON: {error}.") from error
    vision = load_vision(folder, config)
    language = {**config, **(config.get("text_config") or {})}  # newer folders of models that see have it apart
    tokenizer = load_tokenizer(folder, int(language.get("vocab_size", 0)))
    name = served_name or folder.resolve().name
    return ServedModel(name, tokenizer, max_context_tokens(language), created_s, vision)


def max_context_tokens(config: Mapping[str, Any]) -> int:
    """The context length under the config's rope scaling, by the rule the engine follows.

    Configs with yarn and linear scaling name the length before stretching, those of llama3 the one after.
    """
    positions = int(config.get("max_position_embeddings") or 2048)
    scaling = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind = scaling.get("rope_type") or scaling.get("type")
    original = int(scaling.get("original_max_position_embeddings") or positions)
    factor = float(scaling.get("factor") or positions / original)
    if kind == "yarn":
        return max(positions, int(original * factor))
    return int(positions * factor) if kind == "linear" else positions
