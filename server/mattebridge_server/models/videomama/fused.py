"""The VAE's layers compiled: norm, activation and blend become one pass over memory, convolutions see channels last.

The VAE is four fifths of VideoMaMa's work and, layer by layer, waits for memory more than for arithmetic. Compiled
are the encoder as a whole and the decoder's two kinds of block, each once for all frames, groups and windows.

Shapes are compiled as they are, never as symbols: a kernel for any size chooses how to split its sums by the size that
it saw first, and then the same shot would give other bits on an engine that had another shot before. So every canvas
costs a compilation (kept on disk by torch), which is why a job has to ask for it, and why a group of fewer than eight
frames, which a shot has once at most, is decoded by the plain layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mattebridge.errors import InputError
from mattebridge_server.models.videomama.decode import Layers, head, spatial, temporal

MOST_SHAPES = 256
"""Compilations of a function that are kept; a canvas takes about six. One more, and all of them are let go."""
Compiled = Callable[..., Tensor]


@cache
def layers() -> Layers:
    """The decoder's layers, compiled at their first call with each shape."""
    return Layers(_compiled(_spatial), _compiled(temporal), _compiled(head))


@cache
def encoder() -> Compiled:
    """Like `network.posterior_mean`, compiled."""
    from mattebridge_server.models.videomama.network import posterior_mean

    return _compiled(posterior_mean)


def _spatial(block: Any, frame: Tensor) -> Tensor:
    """Named here, the layout is written by the block's last kernel; left open, it costs a copy between blocks."""
    return spatial(block, frame).contiguous(memory_format=torch.channels_last)


def _compiled(function: Compiled) -> Compiled:
    import torch._dynamo as dynamo

    fused: Any = torch.compile(function, dynamic=False, fullgraph=True)

    def run(*args: Any) -> Tensor:
        if dynamo.config.recompile_limit < MOST_SHAPES:  # asked each time: torch keeps its settings thread by thread
            dynamo.config.recompile_limit = MOST_SHAPES
        try:
            try:
                result: Tensor = fused(*args)
            except dynamo.exc.FailOnRecompileLimitHit:  # no `TorchDynamoException`
                torch.compiler.reset()
                result = fused(*args)
        except dynamo.exc.TorchDynamoException as error:
            raise InputError(
                f"VideoMaMa cannot be compiled on this machine ({_reason(error)})",
                remedy="Leave out --param compile=on, or install a C++ compiler and, for a GPU, triton.",
            ) from error
        return result

    return run


def _reason(error: Exception) -> str:
    """What torch says, without its advice to its own developers."""
    return " ".join(str(error).partition("Set TORCHDYNAMO")[0].split())
