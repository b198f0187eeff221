"""Compile the kernels for Hopper, which takes no GPU, and print what came out as JSON.

A program of its own: in the tests' process the kernels are interpreted.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from penstock_kernels.launch import MAX_NUM_SPLITS, Tile, decode_tile, prefill_tile
from penstock_kernels.paged_decode import attend_split, reduce_splits
from penstock_kernels.ragged_prefill import attend_tile
from penstock_kernels.rope_write import rotate_heads

HOPPER = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WIDTHS = {"*bf16": 2, "*fp32": 4}
ALWAYS_ALIGNED = ("query_stride", "value_stride", "qkv_stride")


@dataclass(frozen=True)
class Code:
    """One compiled kernel."""

    kernel: str
    dtype: str
    head_dim: int
    shared_bytes: int
    stack_bytes: int  # registers that did not fit
    num_wgmma: int
    num_mma: int
    num_async_copies: int


def compile_kernel(kernel: JITFunction, types: dict[str, str], constants: dict[str, int], tile: Tile) -> Code:
    """Compile as a launch would: constant strides and fresh tensors are known to be aligned."""
    aligned = [name for name in types if types[name].startswith("*") or name in ALWAYS_ALIGNED]
    aligned = [name for name in aligned if name not in kernel.do_not_specialize_on_alignment]
    source = ASTSource(
        kernel,
        {name: types.get(name, "constexpr") for name in kernel.arg_names},
        constexprs=constants,
        attrs={(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    compiled = triton.compile(source, target=HOPPER, options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _output("cuobjdump", "-res-usage", file.name)
        instructions = _output("nvdisasm", "-c", file.name)
    stack = re.search(r"STACK:(\d+)", usage)
    assert stack is not None, usage
    return Code(
        kernel=kernel.__name__,
        dtype=types.get("kv_ptr", "*fp32"),
        head_dim=constants["HEAD_DIM"],
        shared_bytes=compiled.metadata.shared,
        stack_bytes=int(stack[1]),
        num_wgmma=len(re.findall(r"\bHGMMA", instructions)),
        num_mma=len(re.findall(r"\bHMMA", instructions)),
        num_async_copies=len(re.findall(r"\bLDGSTS", instructions)),
    )


def _output(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def attention(dtype: str, head_dim: int, group_size: int, window: int) -> list[Code]:
    """Both attention kernels for one model."""
    numbers = {"query_stride": "i32", "value_stride": "i64", "table_stride": "i32", "scale": "fp32"}
    pointers = {"query_ptr": dtype, "kv_ptr": dtype, "tables_ptr": "*i32", "contexts_ptr": "*i32"}
    constants = {"GROUP_SIZE": group_size, "BLOCK_SIZE": 16, "HEAD_DIM": head_dim, "WINDOW": window}
    decode, prefill = (choose(group_size, head_dim, WIDTHS[dtype]) for choose in (decode_tile, prefill_tile))
    split_types = {"output_ptr": "*fp32", "log_sums_ptr": "*fp32", "split_tokens": "i32"}
    tile_types = {"output_ptr": dtype, "query_starts_ptr": "*i32", "tiles_ptr": "*i32"}
    return [
        compile_kernel(kernel, pointers | numbers | types, constants | sizes(tile), tile)
        for kernel, types, tile in ((attend_split, split_types, decode), (attend_tile, tile_types, prefill))
    ]


def sizes(tile: Tile) -> dict[str, int]:
    return {"NUM_ROWS": tile.num_rows, "NUM_TOKENS": tile.num_tokens}


def others() -> list[Code]:
    """Rope and write, and the reduction."""
    rope = {"qkv_ptr": "*bf16", "rope_ptr": "*fp32", "positions_ptr": "*i64", "slots_ptr": "*i64", "kv_ptr": "*bf16"}
    rope |= {"qkv_stride": "i32", "value_stride": "i64", "num_heads": "i32", "num_kv_heads": "i32"}
    reduction = {"partial_ptr": "*fp32", "log_sums_ptr": "*fp32", "output_ptr": "*bf16", "num_splits": "i32"}
    return [
        compile_kernel(rotate_heads, rope, {"HEAD_DIM": 128, "HEADS_BLOCK": 8}, Tile(0, 0, 2, 3)),
        compile_kernel(reduce_splits, reduction, {"HEAD_DIM": 128, "SPLITS_BLOCK": MAX_NUM_SPLITS}, Tile(0, 0, 4, 3)),
    ]


if __name__ == "__main__":
    models = [("*bf16", 128, 4, 0), ("*fp32", 128, 4, 0)]
    code = [one for model in models for one in attention(*model)] + others()
    json.dump([asdict(one) for one in code], sys.stdout)
