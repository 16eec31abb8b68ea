"""What a model is to the rest of the server: one class, told by its card, run over one window of frames.

A model knows arrays, not files, sockets or colour configs. The pipeline hands it frames that are already in the state
that its card asks for and takes back alpha at the same size:

    card.plate_state   "linear"   plate at its own resolution, scene-linear working space, unclipped
                       "display"  plate cut to the region of interest, scaled to the canvas, display-encoded 0..1
    card.temporal      "frame"    one window per output frame: the frame and `card.radius` neighbours on either side
                       "window"   `card.window` frames every `card.stride`; overlapping results are blended
                       "shot"     one window over the whole shot, run in order, never split into chunks

Frames are fetched through `Window` one at a time, so that a model which walks a shot holds no more than it needs.
Importing a model's module must be cheap: torch is imported in `load`, never at the top of a module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mattebridge.messages import ParamValue as ParamValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

Temporal = Literal["frame", "window", "shot"]
PlateState = Literal["linear", "display"]


@dataclass(frozen=True)
class Param:
    """One parameter as an OpenFX effect would describe it. ``choices`` for strings, ``low``/``high`` for numbers."""

    name: str
    default: ParamValue
    hint: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """One file a model needs: where it lies under a model folder, and where a user gets it.

    ``size_bytes`` is exact and checked; where nobody pinned it, ``about_bytes`` tells the user what to expect.
    """

    path: str
    repo: str
    licence: str
    size_bytes: int = 0
    about_bytes: int = 0
    sha256: str = ""
    md5: str = ""
    gated: bool = False


@dataclass(frozen=True)
class Preset:
    """A canvas budget in pixels, with the peak of device memory measured for it."""

    name: str
    canvas_pixels: int
    peak_bytes: int


@dataclass(frozen=True)
class ModelCard:
    """What a user, a scheduler and a licence officer have to know before the model is loaded.

    ``weights`` is the set of files that `pull` fetches; each of ``alternatives`` is a whole set that serves instead,
    in order of preference (a smaller size of the same network, or its authors' own checkpoint). ``preflight``: a user
    is warned about masks that are empty, leap or miss the subject.
    """

    name: str
    title: str
    summary: str
    licence: str
    temporal: Temporal
    plate_state: PlateState
    version: str
    radius: int = 0
    window: int = 1
    stride: int = 1
    params: tuple[Param, ...] = ()
    weights: tuple[Weights, ...] = ()
    alternatives: tuple[tuple[Weights, ...], ...] = ()
    presets: tuple[Preset, ...] = ()
    precisions: tuple[str, ...] = ()
    needs_mask: Literal["every", "any", "none"] = "every"
    outputs: tuple[str, ...] = ("alpha",)
    experimental: bool = False
    preflight: bool = True


@dataclass(frozen=True)
class Canvas:
    """Size in pixels of the frames that a model will see."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class Device:
    """Where a model runs. ``kind`` is "cpu" or "cuda"; ``threads`` is the fixed number of CPU threads."""

    kind: Literal["cpu", "cuda"] = "cpu"
    index: int = 0
    threads: int = 2
    memory_bytes: int = 0


@dataclass(frozen=True)
class LoadSpec:
    """How to load: ``folders`` are searched in order for the card's weights.

    ``room`` says, whenever it is asked, how many bytes of the device other models leave to this one; None: no limit.
    """

    device: Device
    precision: str = ""
    folders: tuple[Path, ...] = ()
    room: Callable[[], int] | None = None


@dataclass(frozen=True)
class Prompt:
    """A click, a box or nothing but a name: coordinates are fractions of the plate's display window (0..1, y down)."""

    frame: int
    layer: str = "A"
    points: tuple[tuple[float, float, bool], ...] = ()
    box: tuple[float, float, float, float] | None = None


class Window(ABC):
    """The frames of one run, fetched on demand. ``numbers`` are absolute frame numbers in ascending order."""

    numbers: tuple[int, ...]
    wanted: tuple[int, ...]
    prompts: tuple[Prompt, ...] = ()

    @abstractmethod
    def plate(self, number: int) -> Float32:
        """Plate: (H, W, 3) float32 in the state of `ModelCard.plate_state`."""

    @abstractmethod
    def mask(self, number: int) -> Float32 | None:
        """Mask: (H, W) float32 coverage in 0..1 on the plate's grid, or None where the frame has none."""

    @abstractmethod
    def plate_key(self, number: int) -> str:
        """Digest of what `plate` returns, for caches that outlive a window."""

    @abstractmethod
    def mask_key(self, number: int) -> str:
        """Digest of what `mask` returns; empty where there is none."""


@dataclass(frozen=True)
class FrameResult:
    """Alpha of one frame: (H, W) float32 in 0..1 on the grid of `Window.plate`.

    ``layers`` holds one alpha per object for a model that tracks several; ``alpha`` is then their union. ``foreground``
    is straight colour, (H, W, 3) float32 in the plate's state, from a model that estimates it itself.
    """

    number: int
    alpha: Float32
    layers: Mapping[str, Float32] = field(default_factory=dict)
    foreground: Float32 | None = None


DRIVER_BYTES = int(0.7 * 2**30)
"""What CUDA's context, its libraries and their workspaces hold in a process besides tensors."""

Checkpoint = Callable[[str], None]
"""Called with a stage's name between steps; raises when the job is to stop: let it pass."""


class Model(ABC):
    """One matting, tracking or fill model. Instances are created unloaded and may be loaded and unloaded many times."""

    card: ClassVar[ModelCard]
    driver_bytes: ClassVar[int] = 0
    """The part of `memory_need` that the process holds once, however many models are loaded."""

    def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
        """Peak bytes of device memory for a window of ``frames`` frames on ``canvas``; 0 for models on the host."""
        del canvas, frames, precision
        return 0

    def load(self, spec: LoadSpec) -> None:
        """Bring the weights to the device. Raises `ModelNotInstalled`, `InputError` or `OutOfMemory`."""

    def unload(self) -> None:
        """Give all device memory back."""

    def forget(self) -> None:
        """Empty what is only kept to save work: latents, window results. The next run computes them again."""

    def identify(self, spec: LoadSpec) -> bool:
        """Whether `digest` now says what `load` with ``spec`` would make it say, with nothing loaded: all a plan needs.

        Raises `ModelNotInstalled`, or `InputError` for a precision that the model does not have.
        """
        del spec
        return False

    def digest(self) -> str:
        """Identifies code version and loaded weights; part of every frame's key."""
        return f"{self.card.name}/{self.card.version}"

    @abstractmethod
    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        """Yield one result for each of ``window.wanted``, in ascending order of frame number."""
