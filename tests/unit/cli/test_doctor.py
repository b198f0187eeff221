"""What `doctor` sees on a machine, and what it makes of it."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from penstock.cli.doctor import report
from penstock.cli.findings import Verdict, findings
from penstock.cli.probes import (
    Cpu,
    Gpu,
    Machine,
    Memory,
    RdmaPort,
    probe_cpu,
    probe_gpus,
    probe_memory,
    probe_rdma,
    probe_ucx,
    probe_versions,
)

GIB = 2**30
LAPTOP = Machine(
    host="laptop",
    gpus=(),
    rdma_ports=(),
    ucx_transports=("self", "tcp", "posix"),
    cpu=Cpu("Some CPU", 8, ("avx2",)),
    memory=Memory(16 * GIB, 8 * GIB, None, 8192, 8 * GIB, True),
    taken_ports=(),
    versions={"penstock": "0.1.0", "torch": "2.13.0+cpu", "ray": "2.60.0", "ucxx-cu12": "0.52.0"},
)
HCA = RdmaPort("mlx5_0", "1", True, "400 Gb/sec (4X NDR)", "InfiniBand")
GPU = Gpu("NVIDIA H200", "143771 MiB", "570.1")
VERBS = ("rc_mlx5", "dc_mlx5")
UNLIMITED = replace(LAPTOP.memory, lockable_bytes=None)


@pytest.mark.parametrize(
    ("topic", "changes", "verdict", "sentence"),
    [
        ("compute", {}, Verdict.NOTE, "workers compute on the CPU"),
        ("compute", {"gpus": (GPU,)}, Verdict.BAD, "built without CUDA"),
        ("compute", {"gpus": (GPU,), "versions": {"torch": "2.13.0"}}, Verdict.GOOD, "workers compute on cuda"),
        ("compute", {"versions": {}}, Verdict.BAD, "only --engine mock runs"),
        ("processor", {}, Verdict.NOTE, "widened to float32"),
        ("processor", {"cpu": Cpu("x", 2, ("avx512bw", "avx2"))}, Verdict.NOTE, "--dtype float32 is faster"),
        ("processor", {"cpu": Cpu("x", 2, ("amx_bf16",))}, Verdict.GOOD, "bfloat16"),
        ("memory", {}, Verdict.GOOD, "each worker takes"),
        ("memory", {"memory": replace(LAPTOP.memory, num_available_bytes=GIB)}, Verdict.BAD, "wants 4.0 GiB"),
        ("memory", {"memory": replace(LAPTOP.memory, limit_bytes=GIB)}, Verdict.BAD, "wants 4.0 GiB"),
        ("shared memory", {}, Verdict.GOOD, "written into the peer's pool"),
        ("shared memory", {"memory": replace(LAPTOP.memory, has_memfd=False)}, Verdict.BAD, "cannot map"),
        ("RDMA", {}, Verdict.NOTE, "--allow-tcp"),
        ("RDMA", {"rdma_ports": (replace(HCA, is_active=False),)}, Verdict.BAD, "bring a link up"),
        ("RDMA", {"rdma_ports": (HCA,)}, Verdict.BAD, "ulimit -l"),
        ("RDMA", {"rdma_ports": (HCA,), "memory": UNLIMITED}, Verdict.GOOD, "KV goes to other hosts over it"),
        ("UCX", {}, Verdict.NOTE, "where shared memory is not allowed"),
        ("UCX", {"versions": {}}, Verdict.NOTE, "penstock[ucx]"),
        ("UCX", {"rdma_ports": (HCA,)}, Verdict.BAD, "built without RDMA"),
        ("UCX", {"rdma_ports": (HCA,), "ucx_transports": VERBS}, Verdict.GOOD, "used between hosts"),
        ("scheduler", {"versions": {}}, Verdict.BAD, "penstock[scheduler]"),
        ("scheduler", {}, Verdict.GOOD, "starts Ray here"),
        ("ports", {"taken_ports": (8000,)}, Verdict.NOTE, "--port"),
        ("ports", {}, Verdict.GOOD, "8000"),
    ],
)
def test_facts_become_verdicts_with_consequences(
    topic: str, changes: dict[str, Any], verdict: Verdict, sentence: str
) -> None:
    (finding,) = [finding for finding in findings(replace(LAPTOP, **changes)) if finding.topic == topic]
    assert finding.verdict is verdict
    assert sentence in finding.consequence


def test_the_report_has_a_line_for_each_finding() -> None:
    console = Console(file=io.StringIO(), width=250)
    console.print(report(findings(LAPTOP)))
    assert isinstance(console.file, io.StringIO)
    assert len(console.file.getvalue().splitlines()) == len(findings(LAPTOP))


def says(text: str) -> Any:
    def run(command: Sequence[str], environment: dict[str, str]) -> str:
        return text

    return run


@pytest.mark.parametrize(
    ("output", "gpus"),
    [
        ("NVIDIA H200, 143771 MiB, 570.1\nNVIDIA H200, 143771 MiB, 570.1\n", (GPU, GPU)),
        ("", ()),
        ("No devices were found\n", ()),
    ],
)
def test_gpus_are_read_from_the_driver_tool(output: str, gpus: tuple[Gpu, ...]) -> None:
    assert probe_gpus(says(output)) == gpus


def test_rdma_ports_are_read_from_the_kernel(tmp_path: Path) -> None:
    for device, state in (("mlx5_0", "4: ACTIVE"), ("mlx5_1", "1: DOWN")):
        port = tmp_path / device / "ports" / "1"
        port.mkdir(parents=True)
        (port / "state").write_text(state + "\n")
        (port / "rate").write_text("400 Gb/sec (4X NDR)\n")
        (port / "link_layer").write_text("InfiniBand\n")
    first, second = probe_rdma(tmp_path)
    assert first == HCA
    assert not second.is_active
    assert probe_rdma(tmp_path / "none") == ()


def test_ucx_transports_are_listed_once() -> None:
    listing = "#      Transport: tcp\n#         Device: eth0\n#      Transport: tcp\n#      Transport: posix\n"
    assert probe_ucx(Path("/ucx"), says(listing)) == ("tcp", "posix")
    assert probe_ucx(None, says(listing)) == ()


@pytest.mark.parametrize(
    ("cpuinfo", "cpu"),
    [
        ("model name : Xeon\nflags : fpu avx2 avx512bw amx_bf16\n", Cpu("Xeon", 4, ("amx_bf16", "avx512bw", "avx2"))),
        ("Features : fp asimd sve\n", Cpu("unknown", 4, ("sve", "asimd"))),
        ("", Cpu("unknown", 4, ())),
    ],
)
def test_instruction_sets_are_read_on_any_architecture(tmp_path: Path, cpuinfo: str, cpu: Cpu) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert probe_cpu(path, 4) == cpu


@pytest.mark.parametrize(("text", "limit_bytes"), [("1073741824\n", GIB), ("max\n", None), (None, None)])
def test_the_container_limit_counts_when_there_is_one(
    tmp_path: Path, text: str | None, limit_bytes: int | None
) -> None:
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    memory = probe_memory(path, tmp_path / "none")
    assert memory.limit_bytes == limit_bytes
    assert memory.num_bytes > 0 and memory.shared_memory_bytes == 0


def test_versions_are_of_what_is_installed() -> None:
    assert list(probe_versions(["pytest", "no-such-package"])) == ["pytest"]
