"""Counts what a network would need without running it: live tensor bytes and floating-point operations.

PyTorch's fake tensors have shape, dtype and lifetime but no data. Run through the real code, they show how much memory
is alive at each moment and how many multiply-adds each stage takes, at full size and within seconds. What they do not
show is a device's own share: the driver's context, the workspaces of its libraries, fragmentation.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The counter knows attention on devices only; the CPU's form does the same work."""


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    del args, out_shape, kwargs
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of storages made while active and still alive; ``peak`` is the most there ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._owners: Counter[int] = Counter()
        self._sizes: dict[int, int] = {}
        self._watched: set[int] = set()  # by identity: comparing tensors compares their elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = {self._key(x) for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)}
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor, inputs)
        return out

    @staticmethod
    def _key(tensor: torch.Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)

    def _watch(self, tensor: torch.Tensor, inputs: set[int]) -> None:
        key = self._key(tensor)
        if id(tensor) in self._watched or (key in inputs and key not in self._sizes):
            return  # an input's own storage, such as a weight, was not made here
        if key not in self._sizes:
            self._sizes[key] = tensor.untyped_storage().nbytes()
            self.live += self._sizes[key]
            self.peak = max(self.peak, self.live)
        self._owners[key] += 1
        self._watched.add(id(tensor))
        weakref.finalize(tensor, self._drop, key, id(tensor))

    def _drop(self, key: int, identity: int) -> None:
        self._watched.discard(identity)
        self._owners[key] -= 1
        if not self._owners[key]:
            del self._owners[key]
            self.live -= self._sizes.pop(key)


@contextmanager
def metering() -> Iterator[tuple[LiveBytes, FlopCounterMode]]:
    """Both counters for the work inside the block."""
    flops = FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: _attention_flops})
    with flops, LiveBytes() as live:
        yield live, flops
