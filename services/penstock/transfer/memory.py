"""A worker's KV pool as bytes: allocated so that nothing survives its process, and shareable by descriptor.

The pool is an anonymous memfd: it has no name, so no crash can leave it in /dev/shm, and the kernel frees it with the
last process that holds it. A peer on the same host receives the descriptor over a Unix socket and maps it.
"""

import mmap
import os
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.core.kv_layout import KvLayout

Bytes = npt.NDArray[np.uint8]


class KvMemory:
    """One rank's pool. `view` covers all of it, writable; `fd` is None where it cannot be shared by descriptor."""

    def __init__(self, layout: KvLayout, buffer: Any, fd: int | None = None) -> None:
        view = memoryview(buffer).cast("B")
        if view.nbytes < layout.num_bytes:
            raise ValueError(f"a buffer of {view.nbytes} bytes cannot hold a pool of {layout.num_bytes} bytes")
        self.layout = layout
        self.view = view[: layout.num_bytes]
        self.fd = fd

    @property
    def pool(self) -> Bytes:
        """`view` as an array of bytes."""
        return np.frombuffer(self.view, np.uint8)

    def close(self) -> None:
        """Give the descriptor back. The mapping itself goes when the last view on it does."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        self.view = memoryview(bytearray())


def allocate_kv_memory(layout: KvLayout) -> KvMemory:
    """A zeroed pool behind a memfd. Pages cost memory when first touched."""
    fd = os.memfd_create("penstock-kv", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, layout.num_bytes)
        return KvMemory(layout, map_pool(fd, layout.num_bytes), fd)
    except BaseException:
        os.close(fd)
        raise


def map_pool(fd: int, num_bytes: int) -> mmap.mmap:
    """Map a pool, ours or a peer's, on huge pages where the kernel grants them: fewer page faults and TLB misses."""
    pool = mmap.mmap(fd, num_bytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    _prefer_huge_pages(pool)
    return pool


def _prefer_huge_pages(mapping: mmap.mmap) -> None:
    with suppress(OSError):  # a kernel without transparent huge pages: slower, not wrong
        mapping.madvise(mmap.MADV_HUGEPAGE)


def page_aligned(num_bytes: int) -> Bytes:
    """Scratch memory that begins with a page, as pools do, on huge pages where it is large and the kernel grants them.

    numpy's own begins 16 bytes into one. glibc and the kernel copy with `rep movsb`, and where a destination lies that
    little behind its source, modulo the page size, it runs at a tenth of its speed: on Zen 3, 2.8 GB/s instead of 29.
    """
    scratch = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _prefer_huge_pages(scratch)
    return np.frombuffer(scratch, np.uint8)
