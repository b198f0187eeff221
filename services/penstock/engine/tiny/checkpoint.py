"""The built-in model: a Qwen3-shaped checkpoint of random weights with a real tokenizer, so that nothing is downloaded.

It has learned nothing and says so in every sentence, but it is a full model: grouped heads, q/k norms, rope, a chat
template. The same bytes come out every time: weights are uniform numbers of a generator that numpy keeps frozen.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from penstock.engine.tiny.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE, train_tokenizer, write_tokenizer

SEED = 20260101
WEIGHT_SPREAD = 1.7  # of each product's output, for input of spread 1: enough for context to matter
LOGIT_SPREAD = 3.0  # greedy tokens stand out by more than rounding, sampled ones still vary

CONFIG: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "float32",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "rope_theta": 10000.0,
    "attention_bias": False,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GENERATION_CONFIG: Mapping[str, Any] = {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": True}

Weights = dict[str, npt.NDArray[np.float32]]


def make_tiny_checkpoint(folder: Path) -> Path:
    """Write all files of the model into `folder`, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    write_tokenizer(tokenizer, folder, CONFIG["max_position_embeddings"])
    _write_json(folder / "config.json", CONFIG)
    _write_json(folder / "generation_config.json", GENERATION_CONFIG)
    save_file(make_weights(tokenizer), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_weights(tokenizer: Tokenizer) -> Weights:
    """Random tensors under transformers' names; tokens that are not text of their own never win."""
    random = np.random.RandomState(SEED)
    hidden, inner, head_dim = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    query, key = CONFIG["num_attention_heads"] * head_dim, CONFIG["num_key_value_heads"] * head_dim

    def matrix(rows: int, columns: int, spread: float = WEIGHT_SPREAD) -> npt.NDArray[np.float32]:
        uniform = random.random_sample((rows, columns)) * 2 - 1
        return np.asarray(uniform * spread * (3 / columns) ** 0.5, np.float32)

    weights: Weights = {"model.embed_tokens.weight": matrix(CONFIG["vocab_size"], hidden, hidden**0.5)}
    for layer in range(CONFIG["num_hidden_layers"]):
        shapes = {
            "q_proj": (query, hidden),
            "k_proj": (key, hidden),
            "v_proj": (key, hidden),
            "o_proj": (hidden, query),
        }
        mlp = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        prefix = f"model.layers.{layer}"
        weights |= {f"{prefix}.self_attn.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        weights |= {f"{prefix}.mlp.{name}.weight": matrix(*shape) for name, shape in mlp.items()}
        weights |= {f"{prefix}.self_attn.{name}_norm.weight": np.ones(head_dim, np.float32) for name in "qk"}
        weights |= {
            f"{prefix}.{name}_layernorm.weight": np.ones(hidden, np.float32) for name in ("input", "post_attention")
        }
    weights["model.norm.weight"] = np.ones(hidden, np.float32)
    weights["lm_head.weight"] = matrix(CONFIG["vocab_size"], hidden, LOGIT_SPREAD) * _is_text(tokenizer)[:, None]
    return weights


def _is_text(tokenizer: Tokenizer) -> npt.NDArray[np.float32]:
    """1 for tokens that are printable text by themselves; 0 for special ones, control bytes and parts of letters."""
    is_text = np.zeros(CONFIG["vocab_size"], np.float32)
    for token_id in range(len(SPECIAL_TOKENS), tokenizer.get_vocab_size()):
        text = tokenizer.decode([token_id]).replace("\n", " ")
        is_text[token_id] = text.isascii() and text.isprintable()
    return is_text


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf8")
