"""The memory ledger: which models hold a device's memory, and who leaves when another needs room.

Arithmetic only. The ledger loads and frees nothing itself; it answers with instructions and is told what came of them:

    admit(name, weights, peak) -> Admission       which models to unload first, or a refusal with numbers
    evicted(name) / loaded(...)                   what was done
    pin(name) ... unpin(name)                     a running model is never asked to leave

A model holds its weights while it is loaded; running, it needs its peak besides what the others hold. Idle models are
asked to leave least recently used first, and only as many as are needed. A reload of a loaded model (another
precision, new files) is admitted next to the old one where there is room for both; where there is not, the old one is
the last to leave. A load that fails needs no word: who was not evicted is still held and goes on serving.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from mattebridge.errors import OutOfMemory

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Bytes that one model needs: ``weights_bytes`` while loaded, ``peak_bytes`` (weights included) while it runs.

    ``driver_bytes`` are the part of both that the process holds once, however many models are loaded.
    """

    name: str
    weights_bytes: int
    peak_bytes: int
    driver_bytes: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.driver_bytes <= self.weights_bytes <= self.peak_bytes:
            raise ValueError(
                f"{self.name}: weights {self.weights_bytes} and peak {self.peak_bytes} do not fit together"
            )


@dataclass(frozen=True)
class Admission:
    """Unload ``evict``, in order, then load and run. Nothing is changed until the ledger is told so."""

    need: Need
    evict: tuple[str, ...]


@dataclass(frozen=True)
class Holding:
    """One loaded model as the ledger sees it."""

    name: str
    weights_bytes: int
    pins: int


class Ledger:
    """The account of one device with ``budget_bytes`` for models. Used from one thread."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[str, Need] = OrderedDict()  # by name, least recently used first
        self._pins: dict[str, int] = {}
        self._running: dict[str, int] = {}  # largest working set (peak less weights) of each pinned model

    # -- questions ---------------------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Weights of all loaded models, and the working sets of those that run."""
        return _together(self._held.values()) + sum(self._running.values())

    def holdings(self) -> tuple[Holding, ...]:
        """Loaded models, least recently used first."""
        return tuple(Holding(name, need.weights_bytes, self._pins.get(name, 0)) for name, need in self._held.items())

    def admit(self, need: Need) -> Admission:
        """What has to leave so that ``need`` can run. Raises `OutOfMemory` with the numbers where nothing helps.

        Changes nothing: the same question has the same answer until something is loaded, evicted, pinned or used.
        """
        own = self._held.get(need.name)
        serves = own is not None and own.weights_bytes == need.weights_bytes
        working = sum(self._running.values()) + need.peak_bytes - need.weights_bytes
        staying = dict(self._held)
        evict: list[str] = []

        def fits() -> bool:
            held = [*staying.values()] if serves else [*staying.values(), need]
            return _together(held) + working <= self.budget_bytes

        idle = [name for name in self._held if not self._pins.get(name)]
        # A model that is reloaded is the last to leave: until then it can go on serving.
        for name in sorted(idle, key=lambda name: name == need.name):
            if fits():
                break
            if name != need.name or not serves:
                evict.append(name)
                del staying[name]
        if not fits():
            raise self._refusal(need)
        return Admission(need, tuple(evict))

    def fitting(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """Those of ``needs`` (other presets, precisions, models) that could run here now: what a refusal offers."""
        result = []
        for need in needs:
            try:
                self.admit(need)
            except OutOfMemory:
                continue
            result.append(need)
        return tuple(result)

    # -- what happened -----------------------------------------------------------------------------------------

    def loaded(self, need: Need) -> None:
        """The model is on the device (again); it is now the most recently used."""
        self._held[need.name] = need
        self._held.move_to_end(need.name)

    def evicted(self, name: str) -> None:
        """The model has left the device. Raises `ValueError` for one that runs: that is our own fault."""
        if self._pins.get(name):
            raise ValueError(f"{name} runs and cannot leave the device")
        self._held.pop(name, None)

    def pin(self, need: Need) -> None:
        """The model starts to run. Raises `ValueError` where it is not loaded."""
        if need.name not in self._held:
            raise ValueError(f"{need.name} is not loaded")
        self._held.move_to_end(need.name)
        self._pins[need.name] = self._pins.get(need.name, 0) + 1
        working = need.peak_bytes - need.weights_bytes
        self._running[need.name] = max(self._running.get(need.name, 0), working)

    def pause(self, name: str) -> None:
        """A pinned model waits for another: it keeps its weights, and its working set is free until `resume`."""
        self._running[name] = 0

    def resume(self, need: Need) -> None:
        """It goes on. The room for it is asked for (`admit`) before."""
        self._running[need.name] = need.peak_bytes - need.weights_bytes

    def unpin(self, name: str) -> None:
        """The model stopped running, however it ended. Raises `ValueError` where it does not run."""
        if not self._pins.get(name):
            raise ValueError(f"{name} does not run")
        self._pins[name] -= 1
        if not self._pins[name]:
            del self._pins[name]
            del self._running[name]

    def _refusal(self, need: Need) -> OutOfMemory:
        running = _together(self._held[name] for name in self._pins) + sum(self._running.values())
        held = f", of which {_gib(running)} are in use by running jobs" if running else ""
        return OutOfMemory(
            f"{need.name} needs {_gib(need.peak_bytes)} of device memory; "
            f"the budget is {_gib(self.budget_bytes)}{held}",
            remedy="Wait for the running job."
            if need.peak_bytes <= self.budget_bytes
            else "Use a smaller preset, a lighter model (`edge` needs no device), or a larger device.",
            details={
                "need_bytes": need.peak_bytes,
                "budget_bytes": self.budget_bytes,
                "running_bytes": running,
            },
        )


def _together(needs: Iterable[Need]) -> int:
    """Weights of several models in one process, which holds the driver's part once."""
    needs = tuple(needs)
    own = sum(need.weights_bytes - need.driver_bytes for need in needs)
    return own + max((need.driver_bytes for need in needs), default=0)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
