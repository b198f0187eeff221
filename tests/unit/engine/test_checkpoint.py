import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from penstock.core.errors import UnsupportedModel
from penstock.engine.checkpoint import Checkpoint
from penstock.engine.tiny.checkpoint import make_tiny_checkpoint
from penstock.engine.weights import load_decoder

FILE = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_checkpoint(tmp_path)


def load(folder: Path) -> None:
    load_decoder(Checkpoint(folder), torch.float32, torch.device("cpu"))


def test_missing_unknown_and_misshapen_tensors_are_all_named(folder: Path) -> None:
    weights = load_file(folder / FILE)
    weights["model.layers.0.surprise"] = weights.pop("model.layers.1.self_attn.q_proj.weight")
    weights["model.norm.weight"] = np.ones(7, np.float32)
    save_file(weights, folder / FILE)
    with pytest.raises(UnsupportedModel) as error:
        load(folder)
    for words in (
        "missing: model.layers.1.self_attn.q_proj.weight",
        "unknown: model.layers.0.surprise",
        "model.norm.weight is (7,) instead of (128,)",
    ):
        assert words in error.value.message


def test_frequencies_that_old_checkpoints_store_are_no_surprise(folder: Path) -> None:
    weights = load_file(folder / FILE)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(16, np.float32)
    save_file(weights, folder / FILE)
    load(folder)


@pytest.mark.parametrize("name", ["config.json", FILE])
def test_an_incomplete_folder_is_refused_with_what_it_lacks(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnsupportedModel, match=name):
        Checkpoint(folder)


def test_an_index_that_names_absent_files_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(UnsupportedModel, match="model-2"):
        Checkpoint(folder)


def test_the_revision_changes_with_weights_and_config(folder: Path) -> None:
    revisions = [Checkpoint(folder).revision(), Checkpoint(folder).revision()]
    weights = load_file(folder / FILE)
    weights["model.norm.weight"] *= 2
    save_file(weights, folder / FILE)
    revisions.append(Checkpoint(folder).revision())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    revisions.append(Checkpoint(folder).revision())
    assert revisions[0] == revisions[1] and len(set(revisions)) == 3
