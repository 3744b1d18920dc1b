"""Which number format the encoder computes in, by probing the machine.

Measured on 2 cores with AVX512-BF16: bf16 matrix products run 4 times as fast as fp32 ones; without such instructions
bf16 is emulated and slower, and fp16 on a CPU is slower everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from embedft.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]


def fast_bfloat16(device: str) -> bool:
    """Whether ``device`` has bf16 instructions: AVX512-BF16 or AMX on a CPU, compute capability 8 on a CUDA GPU."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolve_precision(precision: Precision, device: str) -> torch.dtype:
    """The torch type for ``precision`` on ``device``; ``"auto"`` is bf16 where it is fast, else fp32.

    Raises:
        ConfigError: ``precision`` is none of the three.
    """
    import torch

    if precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}.", hint=f"use one of {', '.join(get_args(Precision))}.")
    if precision == "bfloat16" or (precision == "auto" and fast_bfloat16(device)):
        return torch.bfloat16
    return torch.float32
