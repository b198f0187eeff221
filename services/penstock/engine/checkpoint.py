"""A model folder in Hugging Face form: config.json, safetensors in one file or many, generation_config.json."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.config import ModelConfig, parse_config
from penstock.engine.options import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_NAMED = 5  # tensors named in an error
SAMPLE_BYTES = 1 << 20  # of each file, that enter the revision


class Checkpoint:
    """Reads tensors by name; nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UnsupportedModel(f"There is no model folder {folder}.")
        self.folder = folder
        self.config: ModelConfig = parse_config(read_json(folder / "config.json"), self._generation_config())
        paths = self._files()
        files = {path: safe_open(path, framework="pt") for path in paths}
        self._file_of = {name: file for file in files.values() for name in file.keys()}  # noqa: SIM118
        self._paths = paths

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._file_of)

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._file_of[name].get_tensor(name)
        return tensor

    def check(self, expected: Mapping[str, tuple[int, ...]], may_be_extra: Iterable[str] = ()) -> None:
        """Refuse a checkpoint whose tensors are not exactly the expected ones, naming those that differ."""
        missing = [name for name in expected if name not in self._file_of]
        extra = sorted(name for name in self.names - expected.keys() if not name.endswith(tuple(may_be_extra)))
        misshapen = [
            f"{name} is {self._shape(name)} instead of {shape}"
            for name, shape in expected.items()
            if name in self._file_of and self._shape(name) != shape
        ]
        problems = [
            f"{what}: {_some(names)}"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", misshapen))
            if names
        ]
        if problems:
            raise UnsupportedModel(
                f"The weights in {self.folder} are not those of a {self.config.architecture}; {'; '.join(problems)}."
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
        return tuple(self._file_of[name].get_slice(name).get_shape())

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


def _shard_names(index: Path) -> set[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise UnsupportedModel(f"{index} has no weight_map.")
    return {str(name) for name in weight_map.values()}


def _some(names: list[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
