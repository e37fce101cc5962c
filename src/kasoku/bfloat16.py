"""Units for bfloat16, looked for on each device. Without them bfloat16 takes up to 20 times as long as float32."""

import functools

import torch


@functools.cache
def on_cpu() -> bool:
    """True if the CPU has such units: AVX-512 BF16 or AMX."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 has no such function
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def on_gpu() -> bool:
    """True if NVIDIA's or AMD's current GPU has such units."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
