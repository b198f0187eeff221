from typing import Any

import pytest

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.config import ARCHITECTURES, parse_config
from penstock.engine.models.image_input import ImageInput

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 32, "max_window_layers": 2}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_experts": 8}


VL: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "vision_config": {"out_hidden_size": 64, "spatial_merge_size": 2},
}
SECTIONS = {"mrope_section": [2, 3, 3]}


def test_an_unknown_architecture_is_refused_with_its_name_and_what_there_is() -> None:
    with pytest.raises(UnsupportedModel) as error:
        parse_config(BASE | {"architectures": ["GPT2LMHeadModel"]})
    assert "GPT2LMHeadModel" in error.value.message
    assert all(name in error.value.message for name in ARCHITECTURES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"dtype": "float64"}, "float64"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_key_value_heads": 3}, "3 KV heads"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "layer type"),
    ],
)
def test_what_is_not_honoured_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        parse_config(BASE | change)


@pytest.mark.parametrize(
    ("change", "windows"),
    [
        ({"sliding_window": 32}, (0, 0, 0, 0)),  # Llama has none
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 32}, (32, 32, 32, 32)),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": None}, (0, 0, 0, 0)),
        ({"architectures": ["MistralForCausalLM"]}, (4096, 4096, 4096, 4096)),
        (QWEN2, (0, 0, 0, 0)),
        (QWEN2 | {"use_sliding_window": True}, (0, 0, 32, 32)),
        (
            QWEN2 | {"use_sliding_window": True, "layer_types": ["sliding_attention", *["full_attention"] * 3]},
            (32, 0, 0, 0),
        ),
        ({"architectures": ["Qwen3MoeForCausalLM"], "sliding_window": 32, **MOE}, (0, 0, 0, 0)),
    ],
)
def test_windows_are_those_the_architecture_gives_each_layer(change: dict[str, Any], windows: tuple[int, ...]) -> None:
    assert parse_config(BASE | change).windows == windows


@pytest.mark.parametrize(
    ("change", "sparse"),
    [
        ({}, {0, 1, 2, 3}),
        ({"decoder_sparse_step": 2}, {1, 3}),
        ({"mlp_only_layers": [0, 3]}, {1, 2}),
    ],
)
def test_sparse_layers_follow_step_and_exceptions(change: dict[str, Any], sparse: set[int]) -> None:
    config = parse_config(BASE | {"architectures": ["Qwen3MoeForCausalLM"]} | MOE | change)
    assert {layer for layer in range(4) if config.is_sparse(layer)} == sparse


@pytest.mark.parametrize(
    ("raw", "generation", "expected"),
    [
        ({}, {}, frozenset()),
        ({"eos_token_id": 2}, {}, frozenset({2})),
        ({"eos_token_id": 2}, {"eos_token_id": [3, 4]}, frozenset({3, 4})),
    ],
)
def test_end_tokens_of_the_generation_config_win(
    raw: dict[str, Any], generation: dict[str, Any], expected: frozenset[int]
) -> None:
    assert parse_config(BASE | raw, generation).eos_token_ids == expected


@pytest.mark.parametrize(
    ("scaling", "max_context_tokens"),
    [
        ({}, 1000),
        ({"type": "linear", "factor": 2.0}, 2000),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1000}, 4000),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 125}, 1000),
    ],
)
def test_stretched_contexts_are_as_long_as_their_config_means(scaling: dict[str, Any], max_context_tokens: int) -> None:
    config = parse_config(BASE | {"max_position_embeddings": 1000, "rope_scaling": scaling})
    assert config.max_context_tokens == max_context_tokens


def test_both_spellings_of_rope_mean_the_same() -> None:
    old = {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    new = {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}}
    assert parse_config(BASE | old).rope == parse_config(BASE | new).rope


def test_both_spellings_of_a_model_that_takes_images_mean_the_same() -> None:
    dims = {key: value for key, value in BASE.items() if key != "architectures"}
    old = dims | {"rope_theta": 500.0, "rope_scaling": {"type": "mrope", **SECTIONS}, "tie_word_embeddings": True}
    new = {"text_config": dims | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, **SECTIONS}}}
    parsed = parse_config(VL | old)
    assert parsed == parse_config(VL | new | {"tie_word_embeddings": True})
    assert parsed.images == ImageInput((2, 3, 3), 2)
    assert parsed.rope.kind == "default"
    assert parsed.has_qkv_bias and parsed.has_tied_embeddings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["LlavaForConditionalGeneration"]}, "LlavaFor.*supported are .*Qwen2_5_VL"),
        ({"vision_config": None}, "vision_config"),
        ({"rope_scaling": {"mrope_section": [1, 2, 3]}}, "mrope_section"),
        ({}, "mrope_section"),  # what is left unsaid is for heads of 128
        ({"rope_scaling": SECTIONS, "vision_config": {"out_hidden_size": 32}}, "32 wide"),
        ({"architectures": ["LlamaForCausalLM"], "rope_scaling": {"type": "mrope"}}, "mrope"),
    ],
)
def test_images_that_would_not_be_honoured_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        parse_config(BASE | VL | change)
