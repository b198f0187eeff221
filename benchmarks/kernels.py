"""Build, check and time the attention kernels on a GPU, against torch and against what the device can do.

python benchmarks/kernels.py [--quick]

For each shape: the answer is compared with torch's first, then timed. "roof" is the fraction reached of the device's
own limit, measured in the same run: a copy of 1 GiB for what is bound by memory (decode, rope and write), a bf16 matrix
product for prefill. Without a CUDA device it says so and stops. It was written where no GPU was at hand and has not
run on one yet, so no number of it exists.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from penstock_kernels import reference
from penstock_kernels.paged import PagedContext, Visibility
from penstock_kernels.paged_decode import paged_decode, plan_decode
from penstock_kernels.ragged_prefill import plan_prefill, ragged_prefill
from penstock_kernels.rope_write import rotate_and_write

NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE = 32, 8, 128, 16  # Llama 3.1 8B
VISIBILITY = Visibility(HEAD_DIM**-0.5)
DTYPE = torch.bfloat16
TOLERANCE = 1.6e-2
NUM_REPEATS = 20

DECODES = [("1 x 8192", [8192]), ("32 x 4096", [4096] * 32), ("63 x 256 + 1 x 65536", [256] * 63 + [65536])]
PREFILLS = [("1 x 2048", [2048], [2048]), ("1 x 8192", [8192], [8192]), ("chunk 2048 of 32768", [2048], [32768])]
ROPES = [("64 tokens", 64), ("8192 tokens", 8192)]


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    kernel: str
    shape: str
    kernel_s: float
    torch_s: float
    roof_s: float  # the least time the device's limit allows


@dataclass(frozen=True)
class Roof:
    """What this device was measured to do."""

    bytes_per_s: float
    flops_per_s: float


def seconds(run: Callable[[], object]) -> float:
    """Median over repeats of the time on the device, with a cache flushed of what the last repeat left."""
    flushed = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")
    run()
    times: list[float] = []
    for _ in range(NUM_REPEATS):
        flushed.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return float(statistics.median(times))


def measure_roof() -> Roof:
    source = torch.empty(2**30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    matrix = torch.randn(8192, 8192, dtype=DTYPE, device="cuda")
    copy_s = seconds(lambda: target.copy_(source))
    return Roof(2 * 2**30 / copy_s, 2 * 8192**3 / seconds(lambda: matrix @ matrix))


def make_context(lengths: list[int], contexts: list[int]) -> tuple[Tensor, PagedContext]:
    """Random queries and a pool whose blocks are scattered."""
    most = max(-(-context // BLOCK_SIZE) for context in contexts)
    counts = [-(-context // BLOCK_SIZE) for context in contexts]
    order = torch.randperm(sum(counts), device="cuda").int().split(counts)
    tables = torch.stack([torch.nn.functional.pad(blocks, (0, most - len(blocks))) for blocks in order])
    kv = torch.randn(2, sum(counts), BLOCK_SIZE, NUM_KV_HEADS, HEAD_DIM, dtype=DTYPE, device="cuda")
    starts = torch.tensor([0, *lengths], device="cuda").cumsum(0).int()
    query = torch.randn(sum(lengths), NUM_HEADS, HEAD_DIM, dtype=DTYPE, device="cuda")
    return query, PagedContext(kv, tables, torch.tensor(contexts, dtype=torch.int32, device="cuda"), starts)


def check(output: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(output, expected, atol=TOLERANCE, rtol=TOLERANCE)


def bench_decode(shape: str, contexts: list[int], roof: Roof) -> Row:
    query, paged = make_context([1] * len(contexts), contexts)
    num_sms = torch.cuda.get_device_properties(0).multi_processor_count
    plan = plan_decode(contexts, paged.kv, NUM_HEADS, VISIBILITY, num_sms)
    output = torch.empty(len(contexts), NUM_HEADS * HEAD_DIM, dtype=DTYPE, device="cuda")
    paged_decode(query, paged, plan, output)
    check(output, reference.paged_attention(query, paged, VISIBILITY))
    num_bytes = sum(contexts) * 2 * NUM_KV_HEADS * HEAD_DIM * 2
    kernel_s = seconds(lambda: paged_decode(query, paged, plan, output))
    return Row("decode", shape, kernel_s, seconds(lambda: torch_attention(query, paged)), num_bytes / roof.bytes_per_s)


def bench_prefill(shape: str, lengths: list[int], contexts: list[int], roof: Roof) -> Row:
    query, paged = make_context(lengths, contexts)
    plan = plan_prefill(lengths, contexts, 0, paged.kv, NUM_HEADS)
    output = torch.empty(sum(lengths), NUM_HEADS * HEAD_DIM, dtype=DTYPE, device="cuda")
    ragged_prefill(query, paged, plan, VISIBILITY, output)
    check(output, torch_attention(query, paged))
    pairs = sum(n * context - n * (n - 1) // 2 for n, context in zip(lengths, contexts, strict=True))
    kernel_s = seconds(lambda: ragged_prefill(query, paged, plan, VISIBILITY, output))
    flops = 4 * pairs * NUM_HEADS * HEAD_DIM
    return Row("prefill", shape, kernel_s, seconds(lambda: torch_attention(query, paged)), flops / roof.flops_per_s)


def torch_attention(query: Tensor, paged: PagedContext) -> Tensor:
    """What a server without these kernels would run: gather each context, then torch's own fused attention."""
    starts = paged.query_starts.tolist()
    outputs = []
    for sequence, context in enumerate(paged.contexts.tolist()):
        run = query[starts[sequence] : starts[sequence + 1]].transpose(0, 1)[None]
        blocks = paged.block_tables[sequence, : -(-context // BLOCK_SIZE)].long()
        k, v = (part[blocks].flatten(0, 1)[:context].transpose(0, 1)[None] for part in paged.kv)
        length = run.shape[2]
        bias = causal_lower_right(length, context) if length > 1 else None
        outputs.append(scaled_dot_product_attention(run, k, v, attn_mask=bias, enable_gqa=True)[0].transpose(0, 1))
    return torch.cat(outputs).flatten(1)


def bench_rope(shape: str, num_tokens: int, roof: Roof) -> Row:
    _, paged = make_context([1], [num_tokens])
    qkv = torch.randn(num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_DIM, dtype=DTYPE, device="cuda")
    rope = torch.randn(num_tokens, HEAD_DIM, device="cuda")
    places = torch.arange(num_tokens, device="cuda")
    expected_kv = paged.kv.clone()
    expected = reference.rotate_and_write(qkv, rope, places, places, expected_kv)
    check(rotate_and_write(qkv.clone(), rope, places, places, paged.kv), expected)
    check(paged.kv, expected_kv)
    num_bytes = 2 * qkv.nbytes + rope.nbytes
    kernel_s = seconds(lambda: rotate_and_write(qkv, rope, places, places, paged.kv))
    torch_s = seconds(lambda: reference.rotate_and_write(qkv, rope, places, places, expected_kv))
    return Row("rope and write", shape, kernel_s, torch_s, num_bytes / roof.bytes_per_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the first shape of each kernel")
    num_shapes = 1 if parser.parse_args().quick else None
    if not torch.cuda.is_available():
        print("benchmarks/kernels.py times GPU kernels, and this machine has no CUDA device.")
        return 1
    roof = measure_roof()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {NUM_HEADS} heads, {NUM_KV_HEADS} KV heads, bf16"
    )
    print(f"copy {roof.bytes_per_s / 1e12:.2f} TB/s, matrix product {roof.flops_per_s / 1e12:.0f} TFLOP/s")
    rows = [bench_decode(*case, roof) for case in DECODES[:num_shapes]]
    rows += [bench_prefill(*case, roof) for case in PREFILLS[:num_shapes]]
    rows += [bench_rope(*case, roof) for case in ROPES[:num_shapes]]
    print(f"{'kernel':16}{'shape':24}{'kernel us':>12}{'torch us':>12}{'times':>8}{'roof':>8}")
    for row in rows:
        times, share = row.torch_s / row.kernel_s, row.roof_s / row.kernel_s
        micros = f"{row.kernel_s * 1e6:12.1f}{row.torch_s * 1e6:12.1f}"
        print(f"{row.kernel:16}{row.shape:24}{micros}{times:8.1f}{share:8.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
