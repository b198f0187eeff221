"""Small random checkpoints of every architecture, saved by transformers: the oracle writes, Penstock reads."""

from pathlib import Path
from typing import Any

import torch
import transformers

from penstock.engine.tiny.tokenizer import VOCAB_SIZE, train_tokenizer, write_tokenizer

MAX_CONTEXT_TOKENS = 2048
COMMON = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "max_position_embeddings": MAX_CONTEXT_TOKENS,
    "eos_token_id": 1,
    "bos_token_id": None,
    "pad_token_id": None,
}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": (
        "LlamaConfig",
        {
            "intermediate_size": 128,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "mistral": (
        "MistralConfig",
        {"intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 4, "sliding_window": 24},
    ),
    "qwen2": ("Qwen2Config", {"intermediate_size": 128, "num_attention_heads": 6, "num_key_value_heads": 3}),
    "qwen3": (
        "Qwen3Config",
        {"intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32},
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 48,
            "norm_topk_prob": True,
        },
    ),
    "mixtral": (
        "MixtralConfig",
        {
            "intermediate_size": 96,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": None,
        },
    ),
}


def make_checkpoint(architecture: str, folder: Path, seed: int = 0) -> Any:
    """Write a model folder that Penstock can serve; returns the transformers model itself, in fp32."""
    config_class, options = ARCHITECTURES[architecture]
    config = getattr(transformers, config_class)(**{**COMMON, **options}, dtype="float32")
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # livelier than the default initialisation, so that greedy tokens vary
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    write_tokenizer(train_tokenizer(), folder, MAX_CONTEXT_TOKENS)
    return model


def greedy(model: Any, prompt: list[int], num_tokens: int) -> list[int]:
    """What transformers generates, ignoring end tokens."""
    generated = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=num_tokens,
        min_new_tokens=num_tokens,
        eos_token_id=None,
        pad_token_id=0,
    )
    return [int(token) for token in generated[0, len(prompt) :]]
