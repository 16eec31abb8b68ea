"""One model over one shot: its windows in order, each object in turn, overlaps blended into one result per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import OutOfMemory
from mattebridge.messages import PromptInfo

from ..crashpoints import reach
from ..models.base import FrameResult, Model, Prompt, Window
from .blend import Blend
from .colour import is_scene_linear
from .control import Control
from .inputs import ShotInputs
from .plan import ShotPlan
from .planner import Shot
from .prepare import DisplayFrames, DisplayWindow, LinearWindow
from .store import FrameStore, Warn
from .timing import Stages
from .windows import Span

Float32 = NDArray[np.float32]

READ_AHEAD = 2
StepTold = Callable[[int, tuple[int, ...]], None]
"""Called before a window with its number and the frames that are wanted of it."""


@dataclass(frozen=True)
class ModelPass:
    """Everything one pass needs. ``layers`` are the objects whose masks are run one after the other; none: one mask.

    ``turn`` is held whenever the model works. ``relieve`` makes room besides the model's own caches.
    """

    model: Model
    shot: Shot
    inputs: ShotInputs
    store: FrameStore
    control: Control
    stages: Stages
    warn: Warn
    layers: tuple[str, ...] = ()
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    relieve: Callable[[], object] = lambda: None

    def results(self, todo: Sequence[int], told: StepTold) -> Iterator[FrameResult]:
        """Blended results of the frames ``todo``, each as soon as its last window is done."""
        roles = [f"mask:{layer}" for layer in self.layers] or ["mask"]
        blends = {role: Blend(self.shot.plan, self.inputs.shot) for role in roles}
        display = self._display()
        spans = needed_spans(self.shot.plan, self.inputs, todo)
        wanted = set(todo)
        for position, span in enumerate(spans):
            self.control.boundary("model")
            self.store.prefetch(self._ahead(spans, position))
            inside, chosen = self._frames_of(span, wanted)
            told(span.number, chosen)
            runs = [self._run(role, span, inside, chosen, display, blends[role]) for role in roles]
            for results in zip(*runs, strict=True):
                yield _merged(self.layers, results)
            reach("window-after", chosen[0] if chosen else None)

    def _run(
        self,
        role: str,
        span: Span,
        inside: tuple[int, ...],
        chosen: tuple[int, ...],
        display: DisplayFrames | None,
        blend: Blend,
    ) -> Iterator[FrameResult]:
        window = self._window(role, inside, chosen, display)
        for result in self._results_of(window):
            if (whole := blend.add(span, result)) is not None:
                yield whole

    def _results_of(self, window: Window) -> Iterator[FrameResult]:
        """The model's results; when memory runs out, once more with the caches empty, without repeating a frame."""
        given: set[int] = set()
        try:
            for result in self._computed(window):
                given.add(result.number)
                yield result
            return
        except OutOfMemory as error:
            self.warn("CACHES_FREED", f"{error.message}: caches freed, the window is tried again", None)
        with self.turn:
            self.model.forget()
            self.relieve()
        for result in self._computed(window):
            if result.number not in given:
                yield result

    def _computed(self, window: Window) -> Iterator[FrameResult]:
        results = iter(self.model.run(window, self.shot.plan.params, self.control.checkpoint))
        while True:
            with self.turn, self.stages.measure("model"):
                result = next(results, None)
            if result is None:
                return
            yield result

    def _window(
        self, role: str, inside: tuple[int, ...], chosen: tuple[int, ...], display: DisplayFrames | None
    ) -> Window:
        if display is not None:
            return DisplayWindow(display, inside, chosen, self._prompts(), role)
        linear = is_scene_linear(self.shot.config, self.shot.plan.plate_space)
        to_linear = None if linear else self.shot.transform.light
        plan = self.shot.plan
        salt = "" if linear else repr((plan.plate_space, plan.config_digest, plan.context))
        return LinearWindow(self.store, inside, chosen, to_linear, self._prompts(), role, salt)

    def _display(self) -> DisplayFrames | None:
        if self.shot.plan.region is None:
            return None
        return DisplayFrames(self.store, self.shot.plan, self.inputs.shot, self.shot.transform)

    def _frames_of(self, span: Span, wanted: set[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        numbers = self.inputs.shot
        inside = numbers[span.start : span.stop]
        targets = (numbers[span.number],) if self.shot.plan.temporal == "frame" else inside
        return inside, tuple(number for number in targets if number in wanted)

    def _ahead(self, spans: Sequence[Span], position: int) -> list[int]:
        """What to begin to read: the frames of the next few small windows, or the head of a large one."""
        small = self.shot.plan.temporal == "frame"
        near = spans[position : position + 1 + (READ_AHEAD if small else 0)]
        frames = list(dict.fromkeys(self.inputs.shot[i] for span in near for i in range(span.start, span.stop)))
        return frames if small else frames[: READ_AHEAD + 1]

    def _prompts(self) -> tuple[Prompt, ...]:
        return tuple(self._on_canvas(info) for info in self.shot.plan.prompts)

    def _on_canvas(self, info: PromptInfo) -> Prompt:
        """A prompt in fractions of the display window as one in fractions of the picture that the model sees."""
        points = list(zip(info.points[0::3], info.points[1::3], info.points[2::3], strict=True))
        moved = tuple((*self._place(info.frame, x, y), label > 0) for x, y, label in points)
        box = None
        if len(info.box) == 4:
            box = (*self._place(info.frame, *info.box[:2]), *self._place(info.frame, *info.box[2:]))
        return Prompt(info.frame, info.layer, moved, box)

    def _place(self, frame: int, x: float, y: float) -> tuple[float, float]:
        plan = self.shot.plan
        pixel_x = plan.display[0] + x * plan.display[2] - plan.plate[0]
        pixel_y = plan.display[1] + y * plan.display[3] - plan.plate[1]
        if plan.region is None:
            return pixel_x / plan.plate[2], pixel_y / plan.plate[3]
        left, top = plan.region.offsets[self.inputs.index(frame)]
        return (pixel_x - left) / plan.region.width, (pixel_y - top) / plan.region.height


def needed_spans(plan: ShotPlan, inputs: ShotInputs, todo: Sequence[int]) -> Sequence[Span]:
    """The windows that these frames need, ascending; for a model that works by frame, one for each."""
    indices = [inputs.index(frame) for frame in todo]
    if plan.temporal == "frame":
        every = plan.spans(len(inputs.shot))
        return [every[index] for index in indices]
    return plan.layout(len(inputs.shot)).needed(indices)


def read_frames(plan: ShotPlan, inputs: ShotInputs, todo: Sequence[int]) -> tuple[int, ...]:
    """Every frame that has to be read to write these."""
    spans = needed_spans(plan, inputs, todo)
    return tuple(inputs.shot[i] for i in sorted({i for span in spans for i in range(span.start, span.stop)}))


def _merged(layers: tuple[str, ...], results: tuple[FrameResult, ...]) -> FrameResult:
    """One frame's objects as layers; the alpha is their union, 1 - prod(1 - a)."""
    if not layers:
        return results[0]
    named = {layer: result.alpha for layer, result in zip(layers, results, strict=True)}
    empty = np.ones_like(results[0].alpha)
    for alpha in named.values():
        empty *= 1.0 - alpha
    return FrameResult(results[0].number, 1.0 - empty, named)
