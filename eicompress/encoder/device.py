"""The compute device of models, and the precision of their products."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def own_device() -> str:
    """Where models compute on this machine: `cuda` where torch finds it, or `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def computes_with(device: str) -> str:
    """A device by its name, and the numbers that matrix products take on it: `CPU, bfloat16`."""
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
    return f"{name}, {'bfloat16' if multiplies_bfloat16(device) else 'float32'}"


@contextmanager
def moved(model: nn.Module, device: str) -> Iterator[None]:
    """The model on a device, and back on the processor afterwards, where all models rest."""
    model.to(device)
    try:
        yield
    finally:
        model.to("cpu")


def fast_products(device: str) -> torch.autocast:
    """A context in which matrix products run in bfloat16 if the processor has instructions for it.

    Weights, gradients, normalization and losses stay in single precision.
    """
    return torch.autocast(device, torch.bfloat16, enabled=multiplies_bfloat16(device))


def multiplies_bfloat16(device: str) -> bool:
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
