"""The models of one engine: which exist, which are installed, which are loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mattebridge.messages import ModelInfo

from ..models.base import Device, LoadSpec, Model
from ..models.describe import model_info
from ..models.registry import Registry, load_registry
from ..pipeline.params import card_params


def parse_device(text: str, threads: int) -> Device:
    """``cpu:0`` or ``cuda:1`` as a `Device`. Raises `ValueError`."""
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"a device is cpu:N or cuda:N, not {text!r}")
    return Device(kind="cpu" if kind == "cpu" else "cuda", index=int(index or 0), threads=threads)


class Shelf:
    """Loads models by name and keeps them for the next job. Used from one thread."""

    def __init__(self, device: Device, folders: tuple[Path, ...], registry: Registry | None = None) -> None:
        self._device, self._folders = device, folders
        self._registry = registry or load_registry()
        self._loaded: dict[tuple[str, str], Model] = {}

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models that hold memory now."""
        return tuple(sorted({name for name, _ in self._loaded}))

    def get(self, name: str, precision: str = "") -> Model:
        """The model, loaded. Raises `ModelUnknown`, `ModelNotInstalled`, `OutOfMemory`."""
        cls = self._registry.get(name)
        key = name, precision or (cls.card.precisions[0] if cls.card.precisions else "")
        if key not in self._loaded:
            model = cls()
            model.load(LoadSpec(self._device, key[1], self._folders))
            self._loaded[key] = model
        return self._loaded[key]

    def unload(self) -> None:
        """Give everything back."""
        for model in self._loaded.values():
            model.unload()
        self._loaded.clear()

    def describe(self) -> tuple[ModelInfo, ...]:
        """Every model as the protocol shows it."""
        loaded = self.loaded
        return tuple(
            model_info(cls.card, card_params(cls.card), installed=self._installed(cls), loaded=name in loaded)
            for name, cls in sorted(self._registry.classes.items())
        )

    def _installed(self, cls: type[Model]) -> bool:
        return all(any((folder / w.path).is_file() for folder in self._folders) for w in cls.card.weights)


def execution_profile(device: Device) -> str:
    """What has to be equal for two runs to give the same bits: device, threads and the libraries that compute."""
    import cv2
    import numba
    import numpy as np

    parts = [f"{device.kind}:{device.threads}", f"numpy {np.__version__}", f"opencv {cv2.__version__}"]
    parts.append(f"numba {numba.__version__}")
    text = ", ".join(parts)
    return f"{text} [{hashlib.sha256(text.encode()).hexdigest()[:8]}]"
