"""Where matrix products are faster in bfloat16."""

import torch


def fast_products(device: str) -> torch.autocast:
    """A context in which matrix products run in bfloat16 if the processor has instructions for it.

    Weights, gradients, normalization and losses stay in single precision.
    """
    return torch.autocast(device, torch.bfloat16, enabled=multiplies_bfloat16(device))


def multiplies_bfloat16(device: str) -> bool:
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return bool(torch.cuda.is_bf16_supported())
