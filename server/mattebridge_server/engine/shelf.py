"""The models of one engine: which exist, which are installed, which are loaded, and whether one more fits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mattebridge.errors import EngineFailed, OutOfMemory, UsageError
from mattebridge.extras import install_command
from mattebridge.messages import ModelInfo

from ..models.base import Canvas, Device, LoadSpec, Model, ModelCard
from ..models.describe import model_info
from ..models.execution import default_precision
from ..models.folders import is_installed, require
from ..models.licences import is_accepted
from ..models.registry import Registry, load_registry
from ..pipeline.params import card_params
from ..pipeline.timing import host_memory_bytes
from .ledger import Admission, Ledger, Need

HOST_SHARE = 0.8
"""Of the host's memory, what models may take on a CPU device; the rest is for pictures."""
DEVICE_SHARE = 0.92
"""Of a GPU's memory, what models may take; the rest is the driver's and the display's."""
FULL_HD = 1920 * 1080


def parse_device(text: str, threads: int) -> Device:
    """``cpu:0`` or ``cuda:1`` as a `Device` with its memory. Raises `UsageError`, `EngineFailed` without such a GPU."""
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "cuda") or not (index or "0").isdecimal():
        raise UsageError(f"a device is cpu:N or cuda:N, not {text!r}")
    if kind == "cpu":
        return Device("cpu", int(index or 0), threads, host_memory_bytes())
    return Device("cuda", int(index or 0), threads, _cuda_bytes(int(index or 0)))


class Shelf:
    """Loads models by name and keeps them for the next job, within the device's budget. Used from one thread.

    A model that runs is pinned; idle ones leave, least recently used first, when room is needed. A load that fails
    leaves what was loaded before in service.
    """

    def __init__(
        self, device: Device, folders: tuple[Path, ...], registry: Registry | None = None, budget_bytes: int = 0
    ) -> None:
        self.device, self._folders = device, folders
        self.registry = registry or load_registry()
        share = HOST_SHARE if device.kind == "cpu" else DEVICE_SHARE
        self._ledger = Ledger(budget_bytes or int(device.memory_bytes * share))
        self._loaded: dict[str, tuple[str, Model]] = {}
        self._resting: dict[str, Model] = {}  # unloaded, with what they remember on the host
        self._needs: dict[str, Need] = {}

    @property
    def budget_bytes(self) -> int:
        """What models may take together."""
        return self._ledger.budget_bytes

    @property
    def used_bytes(self) -> int:
        """What they take now, by the ledger."""
        return self._ledger.used_bytes

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models that hold memory now."""
        return tuple(sorted(self._loaded))

    def get(self, name: str, precision: str = "", preset: str = "") -> Model:
        """The model, loaded. Raises `ModelUnknown`, `ModelNotInstalled`, `OutOfMemory` with the numbers."""
        wanted = self.precision(name, precision)
        held = self._loaded.get(name)
        need = self.need(name, wanted, preset)
        for other in self._admit(need).evict:
            self._evict(other)
        if held is not None and held[0] == wanted and name in self._loaded:
            self._ledger.loaded(need)
            self._needs[name] = need
            return held[1]
        model = self._load(name, wanted)
        self._needs[name] = need
        self._loaded[name] = (wanted, model)
        self._ledger.loaded(need)
        return model

    def identified(self, name: str, precision: str = "", preset: str = "") -> Model:
        """The model for a plan, which asks only which weights they are: loaded only where it cannot tell otherwise."""
        wanted = self.precision(name, precision)
        held = self._loaded.get(name)
        if held is not None and held[0] == wanted:
            return held[1]
        model = self.registry.get(name)()
        return model if model.identify(self._spec(name, wanted)) else self.get(name, precision, preset)

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """The model runs inside the block and cannot be made to leave."""
        self._ledger.pin(self._needs[name])
        try:
            yield
        finally:
            self._ledger.unpin(name)

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """The model, if it is in use, does nothing inside the block but wait for another, which has its room."""
        if not any(held.name == name and held.pins for held in self._ledger.holdings()):
            yield
            return
        self._ledger.pause(name)
        try:
            yield
        finally:
            need = self._needs[name]
            for other in self._ledger.admit(need).evict:
                self._evict(other)
            self._ledger.resume(need)

    def relieve(self, name: str) -> bool:
        """Make room for a model whose memory ran out in spite of the figures: idle ones leave, and those in use empty
        their caches, which nobody may be running then. False where no other is loaded.
        """
        others = [held for held in self._ledger.holdings() if held.name != name]
        for held in others:
            if held.pins:
                self._loaded[held.name][1].forget()
            else:
                self._evict(held.name)
        return bool(others)

    def precision(self, name: str, asked: str) -> str:
        """What was asked for; else what the device computes best in, for a model that has the choice."""
        return asked or (default_precision(self.device) if self.registry.get(name).card.precisions else "")

    def need_fits(self, name: str, precision: str = "", preset: str = "", helpers: Iterable[str] = ()) -> None:
        """Raises `OutOfMemory` with the numbers, and the presets that would fit, where the model could not run now.

        ``helpers`` are the other models of its job.
        """
        try:
            self._ledger.admit(self._with_helpers(self.need(name, precision, preset), helpers))
        except OutOfMemory as error:
            if fitting := self.fitting_presets(name, precision, helpers):
                error.remedy = f"Use preset {' or '.join(fitting)}, which fits, or allow a fallback (--fallback)."
                error.details["fitting_presets"] = ", ".join(fitting)
            raise

    def fitting_presets(self, name: str, precision: str = "", helpers: Iterable[str] = ()) -> tuple[str, ...]:
        """The model's presets that could run here now, with ``helpers`` beside it."""
        needs = {
            preset.name: self._with_helpers(self.need(name, precision, preset.name), helpers)
            for preset in self.registry.get(name).card.presets
        }
        fitting = self._ledger.fitting(needs.values())
        return tuple(preset for preset, need in needs.items() if need in fitting)

    def need(self, name: str, precision: str, preset: str = "") -> Need:
        """What a model takes at a preset (its first where none is named), by measured peak or by its own formula."""
        cls = self.registry.get(name)
        card = cls.card
        precision = self.precision(name, precision)
        chosen = next((p for p in card.presets if p.name == preset), card.presets[0] if card.presets else None)
        side = (chosen.canvas_pixels if chosen else FULL_HD) ** 0.5
        canvas = Canvas(int(side * 4 / 3), int(side * 3 / 4))  # never above the budget
        peak = cls().memory_need(canvas, card.window, precision)
        weights = min(peak, cls().memory_need(Canvas(64, 64), 1, precision))
        return Need(name, weights, peak, cls.driver_bytes)

    def _admit(self, need: Need) -> Admission:
        """As the ledger; jobs run one at a time, so whoever runs here is another model of the same job."""
        try:
            return self._ledger.admit(need)
        except OutOfMemory as error:
            if running := ", ".join(held.name for held in self._ledger.holdings() if held.pins):
                error.remedy = (
                    f"The job runs it beside {running}: use a smaller preset, or make masks and clean plates in "
                    "jobs of their own."
                )
            raise

    def _with_helpers(self, need: Need, helpers: Iterable[str]) -> Need:
        """The need of a model and the helper that takes most: a tracker while the model waits, a filler beside it."""
        most = need
        for name in helpers:
            helper = self.need(name, "")
            waits = self.registry.get(name).card.temporal == "shot"
            peak = (need.weights_bytes if waits else need.peak_bytes) + helper.peak_bytes - helper.driver_bytes
            if name != need.name and peak > most.peak_bytes:
                most = replace(need, name=f"{need.name} with {name}", peak_bytes=peak)
        return most

    def unload(self) -> None:
        """Give everything back."""
        for name in self.loaded:
            self._evict(name)

    def is_installed(self, card: ModelCard) -> bool:
        """Whether the model's weights are on this machine."""
        return is_installed(card, self._folders)

    def installed(self) -> frozenset[str]:
        """Names of the models whose weights are on this machine now."""
        return frozenset(name for name, cls in self.registry.classes.items() if self.is_installed(cls.card))

    def require_installed(self, card: ModelCard) -> None:
        """Raises `ModelNotInstalled` that names the first missing file, where it comes from and how to get it."""
        require(card, self._folders)

    def is_accepted(self, card: ModelCard) -> bool:
        """Whether a person has accepted the licence of the model's weights, or it asks nothing."""
        return is_accepted(card, self._folders)

    def describe(self) -> tuple[ModelInfo, ...]:
        """Every model as the protocol shows it."""
        loaded = self.loaded
        return tuple(
            model_info(cls.card, card_params(cls.card), installed=self.is_installed(cls.card), loaded=name in loaded)
            for name, cls in sorted(self.registry.classes.items())
        )

    def _load(self, name: str, precision: str) -> Model:
        model = self._resting.get(name) or self.registry.get(name)()
        again = False
        try:
            model.load(self._spec(name, precision))
        except OutOfMemory:
            again = self.relieve(name)
            if not again:
                raise
        if again:  # out here, since the error held on to what was half loaded
            model.load(self._spec(name, precision))
        if name in self._loaded:
            self._evict(name)
        self._resting.pop(name, None)
        return model

    def _spec(self, name: str, precision: str) -> LoadSpec:
        return LoadSpec(self.device, precision, self._folders, lambda: self._room(name))

    def _room(self, name: str) -> int:
        """What the budget leaves to a model when every other one that is loaded runs as well.

        Asked while the model runs, when the threads that finish frames may be loading a filler.
        """
        others = (self._needs[other] for other in tuple(self._loaded) if other != name)
        return self._ledger.budget_bytes - sum(need.peak_bytes - need.driver_bytes for need in others)

    def _evict(self, name: str) -> None:
        self._ledger.evicted(name)
        _, model = self._loaded.pop(name)
        model.unload()
        self._resting[name] = model


def execution_profile(device: Device) -> str:
    """What has to be equal for two runs to give the same bits: device, threads and the libraries that compute."""
    from importlib.metadata import PackageNotFoundError, version

    parts = [f"{device.kind}:{device.threads}"]
    for package in ("numpy", "opencv-python-headless", "numba", "torch", "diffusers", "transformers"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    text = ", ".join(parts)
    return f"{text} [{hashlib.sha256(text.encode()).hexdigest()[:8]}]"


def _cuda_bytes(index: int) -> int:
    try:
        import torch
    except ImportError as error:
        raise EngineFailed(
            f"cuda:{index} needs a package that is not installed here: {error.name or error}",
            remedy=f"Run {install_command('models')}, or use --device cpu:0.",
        ) from None
    try:
        total: int = torch.cuda.get_device_properties(index).total_memory
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built for CUDA
        raise EngineFailed(
            f"this machine has no cuda:{index} that can be used: {error}",
            remedy="Run it on one with a GPU, or with --device cpu:0; `mattebridge doctor` lists the devices here.",
        ) from None
    return total
