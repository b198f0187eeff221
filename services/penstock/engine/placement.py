"""Where a model runs and in which type, from the words of settings."""

import torch

from penstock.core.errors import InvalidSettings
from penstock.engine.models.config import DTYPES


def device_named(name: str) -> torch.device:
    """`auto`: a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSettings("device", name, "no such device type; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings("device", name, "torch sees no CUDA device here")
    return device


def dtype_named(name: str, of_checkpoint: str) -> torch.dtype:
    """`auto`: as the checkpoint has it."""
    if name not in ("auto", *DTYPES):
        raise InvalidSettings("dtype", name, f"use auto or one of {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, of_checkpoint if name == "auto" else name)
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
