"""How this process's C allocator treats the large, short-lived buffers of a forward pass."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc reuse freed buffers of up to 1 GiB instead of giving each back to the kernel.

    By default every tensor over a few MiB is mapped anew and zeroed page by page: a copy of 4 MiB then takes five times
    as long as it should, and a prefill is slower by a fifth. Other C libraries have no mallopt and keep their ways.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
