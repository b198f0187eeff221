"""Who is compared, and on what engine: systems of four workers each, and what encoding costs them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.epd.loads import Picture
from tests.integration.image_models import served_oracle
from tests.seeing_gateway import TEMPLATE, placeholder_id, seeing_vocabulary

ENCODERS = "E E P D"
SPLITS = {  # of four workers, where whoever prefills encodes
    "M M M M": ("--mixed=4",),
    "P P D D": ("--prefill=2", "--decode=2"),
    "P P P D": ("--prefill=3", "--decode=1"),
}
FLAGS = {ENCODERS: ("--encoder=2", "--prefill=1", "--decode=1"), **SPLITS}
NUM_WORKERS = 4

QWEN_HIDDEN_SIZE = 3584  # of Qwen2.5-VL-7B: what one embedding weighs on its way
REAL_VISION = {
    "depth": 8,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_heads": 4,
    "fullatt_block_indexes": [3, 7],
}
MAX_CONTEXT_TOKENS = 16384
MIN_PIXELS, MAX_PIXELS = 56 * 56, 1280 * 28 * 28  # as the released models have it
PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class Engine:
    """An engine, its costs and its pictures. `source` says where the costs are from."""

    name: str
    source: str
    picture: Picture
    write_model: Callable[[Path], None]
    flags: tuple[str, ...]


def write_mock_model(folder: Path) -> None:
    """What a mock of Qwen2.5-VL-7B needs to know of it: sizes, not weights."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = seeing_vocabulary()
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "image_token_id": placeholder_id(),
        "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
        "text_config": {
            "vocab_size": vocabulary.get_vocab_size(),
            "hidden_size": QWEN_HIDDEN_SIZE,
            "max_position_embeddings": MAX_CONTEXT_TOKENS,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / PREPROCESSOR).write_text(json.dumps({"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    vocabulary.save(str(folder / "tokenizer.json"))


def write_real_model(folder: Path) -> None:
    """A random Qwen2.5-VL whose tower is large enough to take time, and whose language model is not."""
    served_oracle(folder, vision=REAL_VISION, max_position_embeddings=MAX_CONTEXT_TOKENS)
    settings = json.loads((folder / PREPROCESSOR).read_text())
    settings["size"] = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    (folder / PREPROCESSOR).write_text(json.dumps(settings))


# 640 tokens, as MiniCPM-V makes of a 4032 x 3024 picture; 0.468 s is the slope of the paper's TTFT over pictures when
# nothing is sharded (1.46 s for 2, 4.27 s for 8), preprocessing included. Prefill and decode: Llama-3-8B's fit.
PAPER = Engine(
    "paper",
    "mock engine, costs of EPD (arXiv 2501.05460): 0.468 s of encoding for a 4032 x 3024 picture of MiniCPM-V 2.6 on "
    "an A100, preprocessing included; prefill and decode as fitted for Llama-3-8B there. The pictures sent have "
    "896 x 560 pixels and as many tokens, 640",
    Picture(896, 560),
    write_mock_model,
    (
        "--engine=mock",
        "--mock-costs=encode_s=0,encode_s_per_patch=1.828e-4,prefill_s=0.00629,prefill_s_per_token=5.13e-5,"
        "decode_s=0.011,decode_s_per_sequence=2.5e-5",
    ),
)
# profiles/fit_encoder.py over aiconfigurator's tables: 3.9 ms for one tile of 1024 patches, 152 ms for 64.
H200 = Engine(
    "h200",
    "mock engine, kernels of an H200 alone: Qwen2.5-VL's tower from aiconfigurator's operator tables (1.6 ms, and "
    "2.3 us for a patch), Qwen2.5-7B's fit for prefill and decode. Pictures of 896 x 560 pixels, 640 tokens",
    Picture(896, 560),
    write_mock_model,
    (
        "--engine=mock",
        "--mock-costs=encode_s=0.0016,encode_s_per_patch=2.3e-6,prefill_s=0.00251,prefill_s_per_token=1.71e-5,"
        "decode_s=0.00458,decode_s_per_sequence=8.5e-6",
    ),
)
REAL = Engine(
    "real",
    "torch on these cores, one thread a worker: a random Qwen2.5-VL with a tower of 8 layers, 256 wide, and a language "
    "model of 3 layers, 48 wide. Pictures of 448 x 448 pixels, 256 tokens",
    Picture(448, 448),
    write_real_model,
    ("--device=cpu", "--num-blocks=4096"),
)
