"""Every architecture against transformers on the same random checkpoint: logits, and greedy tokens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from penstock.engine import model_runner
from penstock.engine.model_runner import ModelRunner
from penstock.engine.options import EngineOptions
from penstock.engine.sampler import sample
from tests.integration.drive_runner import Driver

TOLERANCE = 1e-4
NUM_NEW_TOKENS = 10
LENGTHS = (1, 15, 16, 17, 33, 48, 70)  # odd ones, and both sides of block boundaries
VOCAB_SIZE = 193
BASE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
YARN_EXPLICIT = YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}
MOE = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 16}

CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "llama, every head its own kv": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 4}),
    "llama, one kv, tied": (
        LlamaForCausalLM,
        LlamaConfig,
        {"num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "llama, biases": (LlamaForCausalLM, LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "llama, wide heads": (LlamaForCausalLM, LlamaConfig, {"head_dim": 32}),
    "llama, linear rope": (
        LlamaForCausalLM,
        LlamaConfig,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}},
    ),
    "llama, llama3 rope": (LlamaForCausalLM, LlamaConfig, {"rope_parameters": LLAMA3}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
    "mistral, window": (MistralForCausalLM, MistralConfig, {"sliding_window": 20}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen2, yarn rope": (Qwen2ForCausalLM, Qwen2Config, {"rope_parameters": YARN}),
    "qwen2, window in upper layers": (
        Qwen2ForCausalLM,
        Qwen2Config,
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "qwen3, tied": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3, biases, explicit yarn": (
        Qwen3ForCausalLM,
        Qwen3Config,
        {"head_dim": 24, "attention_bias": True, "rope_parameters": YARN_EXPLICIT},
    ),
    "qwen3, window": (
        Qwen3ForCausalLM,
        Qwen3Config,
        {"head_dim": 16, "use_sliding_window": True, "sliding_window": 21, "max_window_layers": 2},
    ),
    "qwen3 moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig, MOE | {"norm_topk_prob": True}),
    "qwen3 moe, some layers dense": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig,
        MOE | {"norm_topk_prob": False, "decoder_sparse_step": 2, "mlp_only_layers": [2]},
    ),
    "mixtral": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mixtral, window": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 3, "sliding_window": 18}),
}


class Oracle:
    """A random transformers model, and its own folder."""

    def __init__(self, case: str, folder: Path, max_shard_size: str = "1GB") -> None:
        model_class, config_class, options = CASES[case]
        torch.manual_seed(7)
        self.model = model_class(config_class(**BASE | options)).eval()
        for parameter in self.model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
            else:
                torch.nn.init.normal_(parameter, std=1.2 * parameter.shape[-1] ** -0.5)
        self.folder = folder
        self.model.save_pretrained(folder, max_shard_size=max_shard_size)

    @torch.inference_mode()
    def last_logits(self, token_ids: list[int]) -> Tensor:
        logits: Tensor = self.model(torch.tensor([token_ids])).logits
        return logits[0, -1]

    def generate(self, prompt: list[int]) -> list[int]:
        output = self.model.generate(torch.tensor([prompt]), max_new_tokens=NUM_NEW_TOKENS, do_sample=False)
        token_ids: list[int] = output[0, len(prompt) :].tolist()
        return token_ids


@pytest.fixture(params=CASES)
def oracle(request: pytest.FixtureRequest, tmp_path: Path) -> Oracle:
    return Oracle(request.param, tmp_path)


@pytest.fixture
def seen_logits(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Whatever the sampler was given, one entry a step."""
    seen: list[Tensor] = []

    def sample_and_remember(logits: Tensor, rows: Any) -> Any:
        seen.append(logits.clone())
        return sample(logits, rows)

    monkeypatch.setattr(model_runner, "sample", sample_and_remember)
    return seen


@pytest.fixture
def runners() -> Iterator[Any]:
    opened: list[ModelRunner] = []

    def open_runner(folder: Path, block_size: int = 16) -> ModelRunner:
        opened.append(model_runner.build(EngineOptions(folder, device="cpu", block_size=block_size, num_blocks=64)))
        return opened[-1]

    yield open_runner
    for runner in opened:
        runner.close()


def random_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(1, VOCAB_SIZE, (length,), generator=generator).tolist() for length in LENGTHS]


async def test_logits_of_whole_and_chunked_prompts_mixed_with_decodes_match(
    oracle: Oracle, runners: Any, seen_logits: list[Tensor]
) -> None:
    driver = Driver(runners(oracle.folder), shuffle_seed=3)
    short, whole, chunked = (driver.sequence(random_prompts()[i]) for i in (1, 4, 6))
    await driver.step([(short, 15)])  # a whole prompt alone
    await driver.step([(chunked, 23), (short, 1)])  # the first chunk of another beside a decode
    await driver.step([(chunked, 30), (whole, 33), (short, 1)])
    await driver.step([(whole, 1), (chunked, 17), (short, 1)])  # the last chunk
    await driver.step([(short, 1), (chunked, 1), (whole, 1)])
    rows = [[short], [short], [short, whole], [whole, short, chunked], [short, chunked, whole]]  # decodes come first
    lengths = {id(s): len(s.request.prompt_token_ids) for s in (short, whole, chunked)}
    for logits, sequences in zip(seen_logits, rows, strict=True):
        for row, sequence in zip(logits, sequences, strict=True):
            expected = oracle.last_logits(sequence.token_ids[: lengths[id(sequence)]])
            torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)
            lengths[id(sequence)] += 1


@pytest.mark.parametrize("chunk", [10**6, 13])
async def test_greedy_tokens_of_a_batch_of_mixed_lengths_match(oracle: Oracle, runners: Any, chunk: int) -> None:
    prompts = random_prompts()
    driver = Driver(runners(oracle.folder, block_size=32 if chunk == 13 else 16))
    outputs = await driver.generate([driver.sequence(prompt) for prompt in prompts], NUM_NEW_TOKENS, chunk)
    assert outputs == [oracle.generate(prompt) for prompt in prompts]


async def test_sequences_that_share_the_blocks_of_a_prefix_match(tmp_path: Path, runners: Any) -> None:
    oracle = Oracle("qwen2, window in upper layers", tmp_path)
    driver = Driver(runners(tmp_path))
    prefix, *_ = random_prompts()[-2:]
    first = driver.sequence([*prefix, 5, 6])
    await driver.generate([first], NUM_NEW_TOKENS)
    second = driver.sequence([*prefix, 9, 8, 7])
    second.block_ids = first.block_ids[:3]
    second.num_computed_tokens = 48
    assert await driver.generate([second], NUM_NEW_TOKENS) == [oracle.generate([*prefix, 9, 8, 7])]


@pytest.mark.parametrize("case", ["llama", "mixtral"])
async def test_sharded_checkpoints_match(case: str, tmp_path: Path, runners: Any) -> None:
    oracle = Oracle(case, tmp_path, max_shard_size="60KB")
    assert not (tmp_path / "model.safetensors").exists()
    driver = Driver(runners(tmp_path))
    prompt = random_prompts()[3]
    assert await driver.generate([driver.sequence(prompt)], NUM_NEW_TOKENS) == [oracle.generate(prompt)]


@pytest.mark.parametrize("case", ["qwen3 moe", "mixtral"])
async def test_experts_stored_in_one_tensor_match(case: str, tmp_path: Path, runners: Any) -> None:
    oracle = Oracle(case, tmp_path)
    rest = {name: tensor for name, tensor in load_file(tmp_path / "model.safetensors").items() if "expert" not in name}
    rest = {name.replace("block_sparse_moe", "mlp"): tensor for name, tensor in rest.items()}
    fused = {name: p.data.contiguous() for name, p in oracle.model.named_parameters() if ".mlp.experts." in name}
    assert fused
    save_file(rest | fused, tmp_path / "model.safetensors", metadata={"format": "pt"})
    driver = Driver(runners(tmp_path))
    prompt = random_prompts()[3]
    assert await driver.generate([driver.sequence(prompt)], NUM_NEW_TOKENS) == [oracle.generate(prompt)]


async def test_configs_in_the_words_of_transformers_4_match(tmp_path: Path, runners: Any) -> None:
    oracle = Oracle("llama, llama3 rope", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    scaling = config.pop("rope_parameters")
    config |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling, "torch_dtype": config.pop("dtype")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    driver = Driver(runners(tmp_path))
    prompt = random_prompts()[-1]
    assert await driver.generate([driver.sequence(prompt)], NUM_NEW_TOKENS) == [oracle.generate(prompt)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
async def test_half_precision_stays_near_single(
    dtype: str, tmp_path: Path, runners: Any, seen_logits: list[Tensor]
) -> None:
    oracle = Oracle("qwen3 moe", tmp_path)
    runner = model_runner.build(EngineOptions(tmp_path, device="cpu", dtype=dtype, num_blocks=16))
    prompt = random_prompts()[-1]
    driver = Driver(runner)
    await driver.step([(driver.sequence(prompt), len(prompt))])
    runner.close()
    expected = oracle.last_logits(prompt)
    assert torch.nn.functional.cosine_similarity(seen_logits[0][0], expected, dim=0) > 0.99


async def test_layers_are_reported_in_order_and_all_of_them_before_the_step_ends(tmp_path: Path, runners: Any) -> None:
    Oracle("llama", tmp_path)
    driver = Driver(runners(tmp_path))
    reported: list[range] = []
    await driver.step([(driver.sequence(random_prompts()[2]), 16)], reported.append)
    assert [layer for layers in reported for layer in layers] == [0, 1, 2]
