"""Where figures were measured: quoted with every table, because without it they mean nothing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("penstock", "torch", "transformers", "ucxx-cu12", "grpcio", "ray", "uvicorn")


def describe() -> str:
    """Processor, cores and versions, on two lines."""
    with open("/proc/cpuinfo", encoding="utf8") as cpuinfo:
        model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "?")
    cores = len(os.sched_getaffinity(0))
    versions = " ".join(f"{package} {_version(package)}" for package in PACKAGES)
    return f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}\n{versions}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
