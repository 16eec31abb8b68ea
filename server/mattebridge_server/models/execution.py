"""The execution profile of torch: the few global switches that decide whether two runs give the same bits.

Measured on CPU: one frame encoded alone or in a batch differs by 1e-6, one thread against two by 2.5e-5. Bit equality
of a farm chunk with the local run therefore needs batch 1, a fixed number of threads, deterministic algorithms, no
autotuning and no silent drop to TF32.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mattebridge.errors import InputError, ModelNotInstalled, OutOfMemory
from mattebridge.extras import install_command
from mattebridge_server.models.base import Device, LoadSpec, ModelCard

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16")


def require_torch(model: str) -> None:
    """Raises `ModelNotInstalled` where the [models] extra is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelNotInstalled(
            f"{model} needs torch, which is not installed ({error})",
            remedy=f"On the server run {install_command('models')}.",
        ) from error


def torch_device(device: Device) -> torch.device:
    """The torch device. Raises `InputError` for a CUDA device that this machine does not have."""
    import torch

    if device.kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available() or device.index >= torch.cuda.device_count():
        raise InputError(
            f"CUDA device {device.index} is not available on this machine",
            remedy="Choose a device that `mattebridge doctor` lists, or run on the CPU.",
        )
    return torch.device("cuda", device.index)


def torch_dtype(precision: str) -> torch.dtype:
    """The dtype of a precision's name. Raises `InputError` for an unknown name."""
    import torch

    try:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    except KeyError:
        raise InputError(f"unknown precision {precision!r}", remedy=f"Use one of {', '.join(PRECISIONS)}.") from None


def default_precision(device: Device) -> str:
    """bf16 where the device computes in it, float32 on a CPU: there bf16 is emulated, slower and less exact."""
    return "bf16" if device.kind == "cuda" else "fp32"


def settled_precision(card: ModelCard, spec: LoadSpec) -> str:
    """The precision that was asked for, else the device's own. Raises `InputError` where the model has it not."""
    precision = spec.precision or default_precision(spec.device)
    if precision not in card.precisions:
        raise InputError(
            f"{card.title} does not run in {precision!r}", remedy=f"Use one of {', '.join(card.precisions)}."
        )
    return precision


@contextmanager
def reproducible(device: Device) -> Iterator[None]:
    """Within it, torch gives the same bits for the same inputs on one machine; the former settings come back after.

    Blocks of several threads may overlap, as where a clean plate is filled while the next window runs: torch's settings
    are the process's, so the first to enter makes them and the last to leave brings the former ones back.
    """
    import torch

    with _overlap:
        if not _inside:
            _former.enter_context(_reproducible_settings())
        _inside.append(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, device.threads))  # this one is each thread's own
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        with _overlap:
            _inside.pop()
            if not _inside:
                _former.close()


_overlap = threading.Lock()
_inside: list[Device] = []
_former = ExitStack()


@contextmanager
def _reproducible_settings() -> Iterator[None]:
    """An operation that has no deterministic form on a device warns once instead of failing the job.

    cuBLAS reads its workspace setting when its first handle is made, so the variable is set before that, in the one
    place that knows why; a value that is already there is kept.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    flags = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = False, True, False
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def memory_errors(what: str, need_bytes: int = 0) -> Iterator[None]:
    """Turns torch's out-of-memory errors, of device and host, into `OutOfMemory`; the device's cache is freed first."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        release_device_memory()
        raise _out_of_memory(what, need_bytes, error) from error
    except RuntimeError as error:
        # The CPU allocator has no class of its own.
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(what, need_bytes, error) from error


def _out_of_memory(what: str, need_bytes: int, error: BaseException) -> OutOfMemory:
    expected = f"; it was expected to need {need_bytes / 2**30:.1f} GiB" if need_bytes else ""
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return OutOfMemory(f"{what} ran out of memory ({first_line}){expected}", details={"need_bytes": need_bytes})


def release_device_memory() -> None:
    """Hands cached blocks back to the driver; does nothing without CUDA."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.memory_reserved():
        torch.cuda.empty_cache()
