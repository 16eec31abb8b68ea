"""What a device's speed hangs on and a CPU can show: nothing waits for the device, nothing is compiled twice."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [models] extra is not installed")

import torch._dynamo as dynamo  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from mattebridge.errors import InputError  # noqa: E402
from mattebridge_server.models.base import Device, LoadSpec  # noqa: E402
from mattebridge_server.models.videomama import VideoMaMa, fused  # noqa: E402
from mattebridge_server.models.videomama import network as net  # noqa: E402
from mattebridge_server.models.videomama.weights import load_network  # noqa: E402

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]
WAITS = tuple(f"aten::{name}" for name in ("item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal"))
"""Operations whose result the host needs before it can go on."""


class Operations(TorchDispatchMode):
    """Counts what is asked of the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch's compiler without its code generator: graphs, guards and shapes are real, kernels are the plain ones."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    _forget_compilations()
    yield
    _forget_compilations()


def _forget_compilations() -> None:
    dynamo.reset()
    dynamo.utils.counters.clear()
    fused.layers.cache_clear()
    fused.encoder.cache_clear()


def _loaded(golden: Path, **sizes: int) -> VideoMaMa:
    model = VideoMaMa(**sizes)
    model.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    return model


def _alphas(model: VideoMaMa, window: Any, **params: Any) -> dict[int, Any]:
    return {result.number: result.alpha for result in model.run(window, params, lambda stage: None)}


def test_no_step_of_a_window_waits_for_the_device(golden: Path) -> None:
    network = load_network((golden,), torch.device("cpu"), torch.float32)
    generator = torch.Generator().manual_seed(1)
    frames, masks, noise = (torch.rand(9, n, h, h, generator=generator) for n, h in ((3, 16), (1, 16), (4, 8)))
    plates = torch.cat([net.encode(network, frame[None]) for frame in frames])
    with Operations() as seen:
        net.encode(network, masks[:1].expand(1, 3, -1, -1))
        list(net.decode(network, net.denoise(network, noise, plates, plates)))
    assert seen.count["aten::conv2d"] + seen.count["aten::convolution"] > 20
    assert not [name for name in WAITS if seen.count[name]]


def test_the_host_prepares_the_next_frame_before_it_asks_for_a_latent(
    golden: Path, array_window: Any, moving_disc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents go to the host once, after everything of the window has been handed to the device."""
    order: list[str] = []
    model = _loaded(golden)
    encode, denoise = net.encode, net.denoise
    monkeypatch.setattr(net, "encode", lambda *args, **kw: (order.append("encode"), encode(*args, **kw))[1])
    monkeypatch.setattr(net, "denoise", lambda *args: (order.append("network"), denoise(*args))[1])
    memory = model._memory
    assert memory is not None
    settle = memory.settle
    monkeypatch.setattr(memory, "settle", lambda: (order.append("settle"), settle())[1])
    _alphas(model, array_window(*moving_disc(3, 16)))
    assert order == ["encode"] * 6 + ["network", "settle"]


def test_compiled_layers_give_the_alpha_of_the_plain_ones_and_are_compiled_once_for_a_canvas(
    golden: Path, array_window: Any, moving_disc: Any, compiled: None
) -> None:
    plates, masks = moving_disc(10, 16)
    model = _loaded(golden)
    windows = [range(1001, 1009), range(1003, 1011)]
    graphs, alphas = [], []
    for numbers in windows:
        window = array_window({n: plates[n] for n in numbers}, masks)
        alphas.append(_alphas(model, window, compile=True))
        graphs.append(dynamo.utils.counters["stats"]["unique_graphs"])
        plain = _alphas(model, window)
        assert all(np.abs(alphas[-1][n] - plain[n]).max() <= 2e-6 for n in numbers)
    assert graphs[0] == graphs[1] > 0, "the second window compiles nothing"
    assert not dynamo.utils.counters["graph_break"]
    assert model.counters().windows_computed == 4, "plain and compiled windows are kept apart"
    assert model.counters().plate_latents_computed == 2 * 10


def test_any_number_of_canvases_are_compiled_on_any_thread(
    golden: Path, array_window: Any, moving_disc: Any, compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regions of interest differ from shot to shot, and a server lives long. torch's limits are each thread's own."""
    monkeypatch.setattr(fused, "MOST_SHAPES", 9)
    begun_anew: list[int] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: (begun_anew.append(1), dynamo.reset()))
    model, limits = _loaded(golden), {}

    def canvases(*sides: int) -> None:
        for side in sides:
            window = array_window(*moving_disc(8, side))
            one, plain = (_alphas(model, window, compile=on) for on in (True, False))
            assert all(np.abs(one[n] - plain[n]).max() <= 2e-6 for n in plain)
            limits[side] = dynamo.config.recompile_limit

    with dynamo.config.patch(recompile_limit=8):  # torch's own, which every other thread begins with
        canvases(4)
    other = threading.Thread(target=canvases, args=(12, 20, 28))
    other.start()
    other.join()
    assert limits == dict.fromkeys((4, 12, 20, 28), 9) and begun_anew


def test_a_machine_that_cannot_compile_says_so(
    golden: Path, array_window: Any, moving_disc: Any, compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile.func, backend=no_compiler))
    with pytest.raises(InputError, match=r"cannot be compiled .*no C\+\+ compiler") as caught:
        _alphas(_loaded(golden), array_window(*moving_disc(1, 16)), compile=True)
    assert "compile=on" in caught.value.remedy
