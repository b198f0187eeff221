"""The language model inside the config.json of a model that takes images, spelled as that of a language model."""

from collections.abc import Mapping
from typing import Any

ROPE_KEYS = ("rope_scaling", "rope_parameters")


def language_part(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Without the nesting of transformers 5, and with rope named for its scaling alone.

    Released checkpoints have all keys at the top; transformers 5 writes those of the language model to `text_config`.
    Only for whether embeddings are tied does the top win: it is where transformers looks.
    """
    text = {key: value for key, value in (raw.get("text_config") or {}).items() if value is not None}
    tied = raw.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    merged = {**raw, **text, "tie_word_embeddings": tied}
    return merged | {key: _plain(merged[key]) for key in ROPE_KEYS if isinstance(merged.get(key), Mapping)}


def _plain(rope: Mapping[str, Any]) -> dict[str, Any]:
    """`mrope` says that there are sections, not how frequencies are scaled."""
    return {
        key: "default" if key in ("type", "rope_type") and value == "mrope" else value for key, value in rope.items()
    }
