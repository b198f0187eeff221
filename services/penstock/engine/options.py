"""What an engine is built from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import InvalidSettings, UnsupportedModel
from penstock.engine.runner import Runner


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the model is, where it runs, and how much KV it may keep."""

    folder: Path
    device: str = "auto"
    dtype: str = "auto"
    block_size: int = 16  # tokens
    num_blocks: int = 0  # 0: as many as kv_memory_bytes holds
    kv_memory_bytes: int = 2**30
    num_embedding_tokens: int = 16384  # of images at once, if the model takes any
    mock_costs: str = ""

    def count_blocks(self, token_bytes: int) -> int:
        """Blocks of the pool, for KV of `token_bytes` per token over all layers."""
        num_blocks = self.num_blocks or self.kv_memory_bytes // (token_bytes * self.block_size)
        if num_blocks < 1:
            raise InvalidSettings("kv_memory_bytes", self.kv_memory_bytes, "holds not even one KV block")
        return num_blocks


Build = Callable[[EngineOptions], Runner]
"""What an engine module offers as `build`."""


def read_json(path: Path) -> dict[str, object]:
    """One of a model folder's JSON files; raises UnsupportedModel naming what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise UnsupportedModel(f"{path.parent} is not a model folder: it has no {path.name}.") from None
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedModel(f"{path} is not a JSON object.")
    return content
