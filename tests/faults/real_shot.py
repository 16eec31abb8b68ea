"""A small real shot on disk, and a broker with the real engine, for the promises that are kept by the engine's code."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
from fault_bench import Broker, Client

WIDTH, HEIGHT = 64, 48
REAL = {
    "engine_command": [sys.executable, "-m", "mattebridge_server.engine"],
    "helper_command": [sys.executable, "-m", "mattebridge_server.checker"],
}


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


def write_deep(path: Path) -> None:
    """A deep EXR, as a renderer writes them for compositing in depth."""
    spec = oiio.ImageSpec(WIDTH, HEIGHT, 4, "float")
    spec.channelnames, spec.deep = ("R", "G", "B", "Z"), True
    deep = oiio.DeepData()
    deep.init(WIDTH * HEIGHT, 4, "float", list(spec.channelnames))
    deep.set_samples(3, 2)
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    assert out.write_deep_image(deep)
    assert out.close()


def damages(good: bytes) -> dict[str, bytes]:
    """What may lie on a disk in place of the EXR ``good``, by the name of the damage.

    Those whose names begin with "flipped" or "offsets" may still be readable.
    """
    window = value_of(good, b"dataWindow")
    channels = value_of(good, b"channels")
    offsets = end_of_header(good)
    entries = (struct.unpack_from("<Q", good, offsets)[0] - offsets) // 8
    cuts = {f"cut at {at}": good[:at] for at in (0, 4, 100, 400, len(good) // 2, len(good) - 10)}
    generator = random.Random(5)
    flipped = {}
    for number in range(6):
        data = bytearray(good)
        for _ in range(20):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        flipped[f"flipped {number}"] = bytes(data)
    flat = bytearray(good)
    flat[channels + 2 + 8 : channels + 2 + 16] = bytes(8)  # behind name, type and flags: its sampling in x and y
    return {
        **cuts,
        "not an image": b"this is a text file, whatever it is called\n" * 50,
        "png signature": b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
        "huge window": put(good, window, struct.pack("<4i", 0, 0, 2**30, 2**30)),
        "negative window": put(good, window, struct.pack("<4i", 100, 100, -5, -5)),
        "channel of no size": bytes(flat),
        "no channels": good[: channels - 4] + struct.pack("<I", 1) + b"\0" + good[offsets:],
        "header without end": good[:8] + b"attribute\0string\0" + struct.pack("<I", 2**31 - 1) + b"x" * 1000,
        "header bomb": good[:8] + b"".join(b"a%d\0int\0\4\0\0\0\1\0\0\0" % n for n in range(50_000)),
        "zeros": good[:8] + bytes(len(good) - 8),
        "offsets to themselves": put(good, offsets, struct.pack("<Q", offsets) * entries),
        "offsets beyond the end": put(good, offsets, struct.pack("<Q", 1 << 62) * entries),
        **flipped,
    }


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def value_of(exr: bytes, attribute: bytes) -> int:
    """Where the value of a header attribute begins: behind name, type and size."""
    name_end = exr.index(attribute + b"\0") + len(attribute) + 1
    return exr.index(b"\0", name_end) + 1 + 4


def end_of_header(exr: bytes) -> int:
    """Where the table of chunk offsets begins. Source: OpenEXR file layout, "Header"."""
    at = 8
    while exr[at]:
        at = value_of(exr[at:], exr[at : exr.index(b"\0", at)]) + at
        at += struct.unpack_from("<I", exr, at - 4)[0]
    return at + 1


def start_real(broker: Broker, **options: Any) -> Client:
    """The broker with the program's own engine and path helper; waits until the engine is up."""
    broker.start(config={**REAL, **options.pop("config", {})}, threads=1, **options)
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
