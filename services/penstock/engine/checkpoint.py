"""A model folder in Hugging Face form: config.json, safetensors in one file or many, generation_config.json.

Of a model that takes images, some workers load the language model and others the vision tower: each checks the names
of its own part and reads no tensor of the other. Tensors go by the names of released checkpoints, which transformers 5
may write differently:

    model.layers.0...     model.language_model.layers.0...
    visual.blocks.0...    model.visual.blocks.0...
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.config import ModelConfig, parse_config
from penstock.engine.options import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
VISION = "visual."  # begins the names of a vision tower's tensors
PREFIXES = {"model.language_model.": "model.", "model.visual.": VISION}
MAX_NAMED = 5  # tensors named in an error
SAMPLE_BYTES = 1 << 20  # of each file, that enter the revision


class Checkpoint:
    """Reads tensors by name; nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UnsupportedModel(f"There is no model folder {folder}.")
        self.folder = folder
        self.raw: Mapping[str, Any] = read_json(folder / "config.json")
        paths = self._files()
        files = {path: safe_open(path, framework="pt") for path in paths}
        self._paths = paths
        # by the name it goes by: its file, and what it is called there
        self._places = {_usual(name): (file, name) for file in files.values() for name in file.keys()}  # noqa: SIM118

    @cached_property
    def config(self) -> ModelConfig:
        """Of the language model."""
        return parse_config(self.raw, self._generation_config())

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._places)

    def tensor(self, name: str) -> Tensor:
        file, stored_name = self._places[name]
        tensor: Tensor = file.get_tensor(stored_name)
        return tensor

    def check(
        self,
        expected: Mapping[str, tuple[int, ...]],
        may_be_extra: Iterable[str] = (),
        other_parts: Iterable[str] = (),
    ) -> None:
        """Refuse a checkpoint whose tensors are not exactly the expected ones, naming those that differ.

        may_be_extra: ends of names of further tensors.   other_parts: beginnings of names that are not looked at.
        """
        missing = [name for name in expected if name not in self._places]
        names = (name for name in self.names - expected.keys() if not name.startswith(tuple(other_parts)))
        extra = sorted(name for name in names if not name.endswith(tuple(may_be_extra)))
        misshapen = [
            f"{name} is {self._shape(name)} instead of {shape}"
            for name, shape in expected.items()
            if name in self._places and self._shape(name) != shape
        ]
        problems = [
            f"{what}: {_some(names)}"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", misshapen))
            if names
        ]
        if problems:
            architecture = next(iter(self.raw.get("architectures") or ()), "model")
            raise UnsupportedModel(
                f"The weights in {self.folder} are not those of a {architecture}; {'; '.join(problems)}."
            )

    def revision(self) -> str:
        """Changes with config.json, and with the names, shapes, sizes and (by samples) values of the weights."""
        digest = blake2b((self.folder / "config.json").read_bytes(), digest_size=8)
        for path in self._paths:
            digest.update(path.stat().st_size.to_bytes(8, "little"))
            with path.open("rb") as file:
                digest.update(file.read(SAMPLE_BYTES))
                file.seek(-min(SAMPLE_BYTES, path.stat().st_size), 2)
                digest.update(file.read())
        return digest.hexdigest()

    def _shape(self, name: str) -> tuple[int, ...]:
        file, stored_name = self._places[name]
        return tuple(file.get_slice(stored_name).get_shape())

    def _generation_config(self) -> Mapping[str, object]:
        path = self.folder / "generation_config.json"
        return read_json(path) if path.exists() else {}

    def _files(self) -> list[Path]:
        if (self.folder / INDEX).exists():
            names = _shard_names(self.folder / INDEX)
        elif (self.folder / SINGLE).exists():
            names = {SINGLE}
        else:
            raise UnsupportedModel(f"There are no weights in {self.folder}: neither {SINGLE} nor {INDEX}.")
        if absent := sorted(name for name in names if not (self.folder / name).exists()):
            raise UnsupportedModel(f"{INDEX} in {self.folder} names files that are not there: {_some(absent)}.")
        return [self.folder / name for name in sorted(names)]


def _usual(name: str) -> str:
    """What a tensor is called in released checkpoints."""
    for prefix, usual in PREFIXES.items():
        if name.startswith(prefix):
            return usual + name.removeprefix(prefix)
    return name


def _shard_names(index: Path) -> set[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise UnsupportedModel(f"{index} has no weight_map.")
    return {str(name) for name in weight_map.values()}


def _some(names: list[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
