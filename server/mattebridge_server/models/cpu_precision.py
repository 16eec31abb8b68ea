"""Two-byte precisions on a CPU: the arithmetic in float32, every layer's result rounded as a device would round it.

A CPU without bf16 instructions falls back to loops that are forty times slower than float32. A GPU keeps bf16 values
but accumulates in float32; doing the same here is both faster and closer to what the device gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def compute_in_float32(module: nn.Module) -> None:
    """Makes each convolution, linear and norm layer of ``module`` compute in float32 and round to its input's dtype."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear, nn.GroupNorm, nn.LayerNorm)):
            setattr(layer, "forward", _Rounded(layer))  # noqa: B010 - an instance attribute over the class's method


class _Rounded:
    """A layer's forward in float32. The weights keep their two bytes and are widened for the call alone."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._forward: Any = type(layer).forward

    def __call__(self, hidden: Tensor) -> Tensor:
        layer, dtype = self._layer, hidden.dtype
        if dtype is torch.float32:
            result: Tensor = self._forward(layer, hidden)
            return result
        narrow = dict(layer._parameters)
        try:
            for name, value in narrow.items():
                layer._parameters[name] = None if value is None else value.float()  # type: ignore[assignment]
            wide: Tensor = self._forward(layer, hidden.float())
        finally:
            layer._parameters.update(narrow)
        return wide.to(dtype)
