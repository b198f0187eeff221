"""What this host offers to transfers: whether another process shares it, and whether it has RDMA."""

import os
from hashlib import blake2b
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NAMESPACES = ("net", "pid", "ipc", "user")
INFINIBAND = Path("/sys/class/infiniband")


def host_id() -> str:
    """Equal for two processes that can reach each other's memory: one kernel, and the same namespaces.

    Two containers of one node differ here unless they share namespaces: an abstract socket, a process_vm_readv and a
    shared-memory segment stop at those borders, and UCX would then use TCP without a word.
    """
    parts = [BOOT_ID.read_text().strip(), *(os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES)]
    return blake2b("|".join(parts).encode(), digest_size=8).hexdigest()


def rdma_devices() -> tuple[str, ...]:
    """Names of the RDMA devices the kernel shows, InfiniBand and RoCE alike."""
    return tuple(sorted(device.name for device in INFINIBAND.iterdir())) if INFINIBAND.is_dir() else ()
