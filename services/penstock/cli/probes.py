"""What this machine has, as facts: each probe looks at one thing, is told where to look, and never fails."""

import importlib.util
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from penstock.cli.ports import require_free
from penstock.core.errors import InvalidSettings
from penstock.runtime.settings import child_environment

RunCommand = Callable[[Sequence[str], dict[str, str]], str]

PACKAGES = ("penstock", "torch", "ray", "ucxx-cu12", "libucx-cu12", "triton", "grpcio", "tokenizers", "uvloop")
INSTRUCTION_SETS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512bw", "avx2", "sve", "asimd")
COMMAND_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: str
    driver: str


@dataclass(frozen=True)
class RdmaPort:
    device: str
    port: str
    is_active: bool
    rate: str
    link_layer: str  # InfiniBand or Ethernet (RoCE)


@dataclass(frozen=True)
class Cpu:
    model: str
    num_usable: int
    instruction_sets: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    num_bytes: int
    num_available_bytes: int
    limit_bytes: int | None  # of the container
    lockable_bytes: int | None  # None: no limit
    shared_memory_bytes: int
    has_memfd: bool


@dataclass(frozen=True)
class Machine:
    """Everything `doctor` looks at."""

    host: str
    gpus: tuple[Gpu, ...]
    rdma_ports: tuple[RdmaPort, ...]
    ucx_transports: tuple[str, ...]
    cpu: Cpu
    memory: Memory
    taken_ports: tuple[int, ...]
    versions: dict[str, str]  # only of what is installed


def look(ports: Sequence[int]) -> Machine:
    """Run every probe on this machine."""
    return Machine(
        host=socket.gethostname(),
        gpus=probe_gpus(run_command),
        rdma_ports=probe_rdma(Path("/sys/class/infiniband")),
        ucx_transports=probe_ucx(_libucx_folder(), run_command),
        cpu=probe_cpu(Path("/proc/cpuinfo"), len(os.sched_getaffinity(0))),
        memory=probe_memory(Path("/sys/fs/cgroup/memory.max"), Path("/dev/shm")),
        taken_ports=tuple(port for port in ports if not _is_free(port)),
        versions=probe_versions(PACKAGES),
    )


def run_command(command: Sequence[str], environment: dict[str, str]) -> str:
    """What the command prints; nothing when it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=True,
            env=child_environment(environment),
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return finished.stdout


def probe_gpus(run: RunCommand) -> tuple[Gpu, ...]:
    """NVIDIA GPUs, as the driver's own tool lists them."""
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    rows = [[cell.strip() for cell in line.split(",")] for line in run(query, {}).splitlines()]
    return tuple(Gpu(*row) for row in rows if len(row) == 3)


def probe_rdma(folder: Path) -> tuple[RdmaPort, ...]:
    """RDMA ports, from the kernel's list of devices."""
    return tuple(
        RdmaPort(
            device=port.parent.parent.name,
            port=port.name,
            is_active="ACTIVE" in _read(port / "state"),
            rate=_read(port / "rate"),
            link_layer=_read(port / "link_layer"),
        )
        for port in sorted(folder.glob("*/ports/*"))
    )


def probe_ucx(folder: Path | None, run: RunCommand) -> tuple[str, ...]:
    """The transports that the installed UCX can use here (such as posix, cma, tcp, rc_mlx5)."""
    if folder is None:
        return ()
    listing = run((str(folder / "bin" / "ucx_info"), "-d"), {"LD_LIBRARY_PATH": str(folder / "lib")})
    names = [line.partition("Transport:")[2].strip() for line in listing.splitlines() if "Transport:" in line]
    return tuple(dict.fromkeys(names))


def probe_cpu(cpuinfo: Path, num_usable: int) -> Cpu:
    """The processor's name, how many of its cores may be used, and the instruction sets that matter to torch."""
    fields: dict[str, str] = {}
    for line in _read(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    found = tuple(name for name in INSTRUCTION_SETS if name in flags)
    return Cpu(fields.get("model name", "unknown"), num_usable, found)


def probe_memory(cgroup_limit: Path, shared_memory: Path) -> Memory:
    """How much memory there is, how much may be used, locked and shared."""
    memory = psutil.virtual_memory()
    limit = _read(cgroup_limit)
    lockable, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return Memory(
        num_bytes=memory.total,
        num_available_bytes=memory.available,
        limit_bytes=int(limit) if limit.isdigit() else None,
        lockable_bytes=None if lockable == resource.RLIM_INFINITY else lockable,
        shared_memory_bytes=shutil.disk_usage(shared_memory).total if shared_memory.is_dir() else 0,
        has_memfd=_has_memfd(),
    )


def probe_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the packages that are installed; nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _has_memfd() -> bool:
    try:
        os.close(os.memfd_create("penstock-doctor"))
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    try:
        require_free("127.0.0.1", port)
    except InvalidSettings:
        return False
    return True


def _libucx_folder() -> Path | None:
    spec = importlib.util.find_spec("libucx")
    return Path(spec.origin).parent if spec and spec.origin else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8").strip()
    except OSError:
        return ""
