"""A small real shot on disk, and a broker with the real engine, for the promises that are kept by the engine's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
from fault_bench import Broker, Client

WIDTH, HEIGHT = 64, 48


def write_exr(path: Path, pixels: np.ndarray, names: tuple[str, ...] = ("R", "G", "B")) -> None:
    """``pixels``: (H, W, C) float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, "half")
    spec.channelnames = names
    spec.attribute("compression", "zips")
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    assert out.write_image(np.ascontiguousarray(pixels, dtype=np.float32))
    assert out.close()


def make_shot(folder: Path, frames: range) -> dict[str, Any]:
    """Plates and masks of a square that moves; returns the fields of a job for `identity`."""
    generator = np.random.default_rng(1)
    for frame in frames:
        plate = 0.2 + 0.1 * generator.random((HEIGHT, WIDTH, 3), dtype=np.float32)
        mask = np.zeros((HEIGHT, WIDTH, 1), np.float32)
        x = 10 + frame % 20
        mask[12:36, x : x + 20] = 1.0
        plate[12:36, x : x + 20] += 0.5
        write_exr(folder / f"plate.{frame}.exr", plate)
        write_exr(folder / f"mask.{frame}.exr", mask, ("A",))
    return {
        "plate": f"{folder}/plate.####.exr",
        "mask": f"{folder}/mask.####.exr",
        "out": f"{folder}/out/matte.####.exr",
        "frames": f"{frames[0]}-{frames[-1]}",
        "model": "identity",
        "plate_space": "ACEScg",
    }


def start_real(broker: Broker, **options: Any) -> Client:
    """The broker with the program's own engine and path helper; waits until the engine is up."""
    import sys

    config = {
        "engine_command": [sys.executable, "-m", "mattebridge_server.engine"],
        "helper_command": [sys.executable, "-m", "mattebridge_server.checker"],
        **options.pop("config", {}),
    }
    broker.start(config=config, threads=1, **options)
    client = broker.client()
    client.models_up()
    return client


def read_alpha(path: Path) -> np.ndarray:
    """(H, W) float32."""
    opened = oiio.ImageInput.open(str(path))
    assert opened, path
    pixels = opened.read_image("float")
    opened.close()
    return np.asarray(pixels)[..., 0]
