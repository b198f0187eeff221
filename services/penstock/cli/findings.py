"""What the facts of a machine mean for Penstock: pure, one line each, with what will be used and why."""

from dataclasses import dataclass
from enum import StrEnum

from penstock.cli.probes import Machine

GIB = 2**30
MIN_AVAILABLE_BYTES = 4 * GIB  # Ray, three processes with torch, and the pools of the built-in model


class Verdict(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    verdict: Verdict
    what: str
    consequence: str


def findings(machine: Machine) -> list[Finding]:
    """Everything worth saying about the machine, in the order in which it matters."""
    return [
        compute(machine),
        processor(machine),
        memory(machine),
        pools(machine),
        rdma(machine),
        ucx(machine),
        scheduler(machine),
        ports(machine),
        versions(machine),
    ]


def compute(machine: Machine) -> Finding:
    """Which device workers compute on."""
    torch = machine.versions.get("torch")
    gpus = ", ".join(f"{gpu.name} ({gpu.memory}, driver {gpu.driver})" for gpu in machine.gpus)
    if torch is None:
        return Finding("compute", Verdict.BAD, gpus or "no GPU", "torch is missing: only --engine mock runs")
    if not machine.gpus:
        return Finding("compute", Verdict.NOTE, "no NVIDIA GPU", "workers compute on the CPU")
    if "+cpu" in torch:
        return Finding("compute", Verdict.BAD, gpus, f"torch {torch} is built without CUDA: workers use the CPU")
    return Finding("compute", Verdict.GOOD, gpus, "workers compute on cuda (--device chooses)")


def processor(machine: Machine) -> Finding:
    """How well the CPU multiplies matrices."""
    cpu = machine.cpu
    what = f"{cpu.model}, {cpu.num_usable} usable cores, {' '.join(cpu.instruction_sets) or 'no vector extensions'}"
    if "amx_bf16" in cpu.instruction_sets or "avx512_bf16" in cpu.instruction_sets:
        return Finding("processor", Verdict.GOOD, what, "bfloat16 models run in bfloat16 at full speed on the CPU")
    if "avx512bw" in cpu.instruction_sets:
        return Finding("processor", Verdict.NOTE, what, "on the CPU, --dtype float32 is faster here than bfloat16")
    advice = "16-bit weights are widened to float32 in memory; --dtype float32 takes no more and is faster"
    return Finding("processor", Verdict.NOTE, what, advice)


def memory(machine: Machine) -> Finding:
    """Whether the default system fits."""
    facts = machine.memory
    usable = min(facts.num_available_bytes, facts.limit_bytes or facts.num_available_bytes)
    limit = f", container limit {_gib(facts.limit_bytes)}" if facts.limit_bytes else ""
    what = f"{_gib(facts.num_bytes)}, {_gib(facts.num_available_bytes)} available{limit}"
    if usable < MIN_AVAILABLE_BYTES:
        return Finding("memory", Verdict.BAD, what, f"a small model wants {_gib(MIN_AVAILABLE_BYTES)}")
    return Finding("memory", Verdict.GOOD, what, "each worker takes its weights and --kv-memory-bytes")


def pools(machine: Machine) -> Finding:
    """Whether workers of this host can map each other's KV."""
    what = f"memfd {'works' if machine.memory.has_memfd else 'is missing'}"
    what += f", /dev/shm {_gib(machine.memory.shared_memory_bytes)}"
    if not machine.memory.has_memfd:
        return Finding("shared memory", Verdict.BAD, what, "workers here cannot map each other's KV pools; UCX is used")
    return Finding("shared memory", Verdict.GOOD, what, "between workers here, KV is written into the peer's pool")


def rdma(machine: Machine) -> Finding:
    """Whether KV can leave this host without TCP."""
    active = [port for port in machine.rdma_ports if port.is_active]
    what = ", ".join(f"{port.device}/{port.port} {port.link_layer} {port.rate}" for port in active)
    if not machine.rdma_ports:
        return Finding("RDMA", Verdict.NOTE, "no device", "KV leaves this host only with --allow-tcp, over TCP")
    if not active:
        names = ", ".join(f"{port.device}/{port.port}" for port in machine.rdma_ports)
        return Finding("RDMA", Verdict.BAD, f"{names}: no port is active", "bring a link up, or pass --allow-tcp")
    locked = machine.memory.lockable_bytes
    if locked is not None and locked < machine.memory.num_bytes:
        advice = f"only {_gib(locked)} may be locked: raise `ulimit -l` (in a container: IPC_LOCK) to register KV pools"
        return Finding("RDMA", Verdict.BAD, what, advice)
    return Finding("RDMA", Verdict.GOOD, what, "KV goes to other hosts over it")


def ucx(machine: Machine) -> Finding:
    """Whether UCX is there, and fit for the devices."""
    if "ucxx-cu12" not in machine.versions:
        return Finding("UCX", Verdict.NOTE, "ucxx is not installed", "no RDMA; pip install 'penstock[ucx]'")
    what = f"ucxx {machine.versions['ucxx-cu12']}: {', '.join(machine.ucx_transports) or 'no transports listed'}"
    has_verbs = any(name.startswith(("rc", "dc", "ud")) for name in machine.ucx_transports)
    if machine.rdma_ports and not has_verbs:
        advice = (
            "this UCX is built without RDMA (the wheel of libucx is): install UCX with verbs on the system and set "
            "RAPIDS_LIBUCX_PREFER_SYSTEM_LIBRARY=true"
        )
        return Finding("UCX", Verdict.BAD, what, advice)
    if has_verbs:
        return Finding("UCX", Verdict.GOOD, what, "used between hosts")
    return Finding("UCX", Verdict.NOTE, what, "used on this host where shared memory is not allowed")


def scheduler(machine: Machine) -> Finding:
    """Whether the control plane can run."""
    if "ray" not in machine.versions:
        return Finding("scheduler", Verdict.BAD, "ray is missing", "pip install 'penstock[scheduler]'")
    return Finding("scheduler", Verdict.GOOD, f"ray {machine.versions['ray']}", "`penstock up` starts Ray here")


def ports(machine: Machine) -> Finding:
    """Whether the default ports are free."""
    if not machine.taken_ports:
        return Finding("ports", Verdict.GOOD, "default ports are free", "the gateway listens on 8000")
    taken = ", ".join(map(str, machine.taken_ports))
    return Finding("ports", Verdict.NOTE, f"in use: {taken}", "choose another with --port, or stop what listens there")


def versions(machine: Machine) -> Finding:
    """What is installed."""
    what = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return Finding("versions", Verdict.GOOD, what, "")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
