"""One job from its request to its last file.

    read ahead → prepare → model, window by window → blend → finish → write

The model runs on the caller's thread; reading, finishing and writing have threads of their own behind bounded queues,
so that they overlap it and memory is a matter of windows, not of the shot's length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattebridge.messages import ErrorInfo, JobRequest, ParamValue

from ..engine.wire import JobEnded, JobFrame, JobProgress, JobResult, JobStarted, JobStep, JobWarning
from ..models.base import FrameResult, Model, Prompt, Window
from ..site import Site
from .blend import Blend
from .control import Control, Emit
from .finish import Finisher, about_job
from .inputs import ShotInputs, require_files, resolve_inputs
from .keys import FileDigests, frame_key
from .outputs import Outputs, make_folders, resolve_outputs
from .plan import ShotPlan, parse_plan
from .planner import Shot, obey_plan, plan_shot, require_inputs
from .prepare import DisplayFrames, DisplayWindow, LinearWindow
from .store import FrameStore, MaskRule
from .timing import Pace, Stages, peak_memory_bytes
from .windows import Span

Float32 = NDArray[np.float32]

READ_AHEAD = 2
FINISH_QUEUE = 2


@dataclass(frozen=True)
class Resources:
    """What a job borrows from its engine. ``threads`` is the number of cores it may keep busy."""

    digests: FileDigests
    site: Site
    threads: int = 2
    profile: str = ""
    version: str = ""


@dataclass(frozen=True)
class Tally:
    """What a run did: frames written and kept, and the facts of its report."""

    written: int
    kept: int
    facts: dict[str, ParamValue]
    plan: bytes = b""


class JobRun:
    """One run of one job with a loaded model. Raises the typed error that ends the job; `Stopped` when asked to."""

    def __init__(
        self, key: str, request: JobRequest, frozen: bytes, model: Model, res: Resources, emit: Emit, control: Control
    ) -> None:
        self._key, self._request, self._model, self._res = key, request, model, res
        self._emit, self._control = emit, control
        self._stages = Stages()
        self._frozen: ShotPlan | None = parse_plan(frozen) if frozen else None
        self._inputs = resolve_inputs(request, self._frozen.frames if self._frozen else "")
        self._warnings = 0

    def plan_only(self) -> Tally:
        """Make the plan and nothing else."""
        self._emit(JobStarted(key=self._key, frames=len(self._inputs.frames), fresh=0, model=self._model.card.name))
        shot = self._shot()
        return Tally(0, 0, self._facts(shot), shot.plan.to_json())

    def run(self, spooled: bool = False, why: str = "") -> Tally:
        """Matte the frames that are not fresh. ``spooled``: results are also announced for sending."""
        shot = self._shot()
        plan = shot.plan
        require_inputs(self._inputs, self._model.card.needs_mask, self._needed_frames(plan))
        with ExitStack() as stack:
            store = self._store(shot)
            stack.callback(store.close)
            keys = _Keys(plan, self._inputs, store)
            outputs = resolve_outputs(self._inputs, keys.of, self._extra(store), self._request.overwrite)
            about = about_job(shot, self._model.card, plan.digest(), self._res.profile, self._res.version)
            finisher = Finisher(shot, self._model.card, store, outputs, self._stages, about)
            self._begin(outputs, keys, why, spooled)
            todo = [frame for frame in self._inputs.frames if frame not in outputs.fresh]
            make_folders(outputs, todo)
            with _Tail(finisher, keys, self._written(spooled, len(todo)), self._stages) as tail:
                for result in self._results(shot, store, todo):
                    tail.take(result)
        return Tally(len(todo), len(outputs.fresh), self._facts(shot))

    # -- the shot ------------------------------------------------------------------------------------------------

    def _shot(self) -> Shot:
        self._control.checkpoint("plan")
        self._emit(JobProgress(key=self._key, stage="plan", total=len(self._inputs.frames)))
        card, digest = self._model.card, self._model.digest()
        with self._stages.measure("plan"):
            if self._frozen is not None:
                shot = obey_plan(self._frozen, self._inputs, self._request, card, digest)
            else:
                require_files(self._inputs, "plate", self._inputs.frames)
                shot = plan_shot(self._inputs, self._request, card, digest, self._res.site, self._control)
        for message in shot.told:
            self._warn("PLAN", message, None)
        return shot

    def _needed_frames(self, plan: ShotPlan) -> tuple[int, ...]:
        """Every frame that has to be read to write the job's frames."""
        wanted = {self._inputs.index(frame) for frame in self._inputs.frames}
        spans = [s for s in plan.spans(len(self._inputs.shot)) if any(i in wanted for i in range(s.start, s.stop))]
        if plan.temporal == "frame":
            spans = [span for span in spans if span.number in wanted]
        return tuple(self._inputs.shot[i] for i in sorted({i for s in spans for i in range(s.start, s.stop)}))

    def _store(self, shot: Shot) -> FrameStore:
        plan = shot.plan
        reach = 2 * plan.radius + 1 if plan.temporal == "frame" else min(plan.length, 16)
        rule = MaskRule(plan.mask_channel, plan.mask_invert, plan.mask_fit)
        return FrameStore(
            self._inputs,
            shot.header,
            self._res.digests,
            self._stages,
            self._warn,
            layer=self._request.plate_layer,
            mask_rule=rule,
            keep=reach + READ_AHEAD + FINISH_QUEUE + 1,
            workers=max(1, self._res.threads),
        )

    def _borders(self, plan: ShotPlan) -> tuple[int, ...]:
        return plan.layout(len(self._inputs.shot)).borders() if plan.temporal == "window" else ()

    # -- running the model -----------------------------------------------------------------------------------------

    def _results(self, shot: Shot, store: FrameStore, todo: Sequence[int]) -> Iterator[FrameResult]:
        """Blended results of the frames to do, window after window."""
        plan, numbers = shot.plan, self._inputs.shot
        blend = Blend(plan, numbers)
        spans = list(self._spans(plan, todo))
        wanted = set(todo)
        display = DisplayFrames(store, plan, numbers, shot.transform) if plan.region is not None else None
        for position, span in enumerate(spans):
            self._control.boundary("model")
            ahead = (
                spans[position : position + 1 + READ_AHEAD]
                if plan.temporal == "frame"
                else spans[position : position + 1]
            )
            store.prefetch(_new_frames(ahead, numbers, READ_AHEAD + 1 if plan.temporal != "frame" else len(numbers)))
            inside = numbers[span.start : span.stop]
            targets = (numbers[span.number],) if plan.temporal == "frame" else inside
            chosen = tuple(number for number in targets if number in wanted)
            self._emit(JobStep(key=self._key, window=span.number, frames=chosen))
            window = self._window(shot, store, display, inside, chosen)
            for result in self._model.run(window, plan.params, self._control.checkpoint):
                if (whole := blend.add(span, result)) is not None:
                    yield whole

    def _spans(self, plan: ShotPlan, todo: Sequence[int]) -> Sequence[Span]:
        indices = [self._inputs.index(frame) for frame in todo]
        if plan.temporal == "frame":
            every = plan.spans(len(self._inputs.shot))
            return [every[index] for index in indices]
        return plan.layout(len(self._inputs.shot)).needed(indices)

    def _window(
        self,
        shot: Shot,
        store: FrameStore,
        display: DisplayFrames | None,
        inside: tuple[int, ...],
        chosen: tuple[int, ...],
    ) -> Window:
        if display is not None:
            return DisplayWindow(display, inside, chosen, self._prompts())
        linear = shot.config.ocio.getColorSpace(shot.plan.plate_space).getEncoding() == "scene-linear"
        to_linear = None if linear else shot.transform.to_rec709
        return LinearWindow(store, inside, chosen, to_linear, self._prompts())

    def _prompts(self) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(
                info.frame,
                info.layer,
                tuple((x, y, bool(label)) for x, y, label in zip(*[iter(info.points)] * 3, strict=True)),
                info.box if len(info.box) == 4 else None,
            )
            for info in self._request.prompts
        )

    # -- telling ---------------------------------------------------------------------------------------------------

    def _begin(self, outputs: Outputs, keys: _Keys, why: str, spooled: bool) -> None:
        total = len(self._inputs.frames) - len(outputs.fresh)
        self._pace = Pace(total)
        self._emit(
            JobStarted(key=self._key, frames=total, fresh=len(outputs.fresh), model=self._model.card.name, why=why)
        )
        for frame in sorted(outputs.fresh):
            files = [(role, str(outputs.path(role, frame))) for role in outputs.roles]
            self._announce(frame, files, keys.of(frame), True, spooled)

    def _written(self, spooled: bool, total: int) -> Callable[[int, list[tuple[str, str]], str], None]:
        def tell(frame: int, files: list[tuple[str, str]], key: str) -> None:
            self._pace.tick()
            self._announce(frame, files, key, False, spooled)
            self._emit(
                JobProgress(
                    key=self._key,
                    stage="matte",
                    done=self._pace.done,
                    total=total,
                    frame=frame,
                    fps=self._pace.fps,
                    eta_s=self._pace.eta_s,
                )
            )

        return tell

    def _announce(self, frame: int, files: list[tuple[str, str]], key: str, kept: bool, spooled: bool) -> None:
        if spooled:
            for role, path in files:
                self._emit(JobResult(key=self._key, role=role, frame=frame, name=path.rpartition("/")[2]))
        self._emit(JobFrame(key=self._key, frame=frame, path=files[0][1] if files else "", digest=key, kept=kept))

    def _warn(self, code: str, message: str, frame: int | None) -> None:
        self._emit(JobWarning(key=self._key, code=code, message=message, frame=frame))

    def _extra(self, store: FrameStore) -> Callable[[str, int], str]:
        return lambda role, frame: store.digest("background", frame) if role == "comp" else ""

    def _facts(self, shot: Shot) -> dict[str, ParamValue]:
        card, plan = self._model.card, shot.plan
        facts: dict[str, ParamValue] = {
            "model": card.name,
            "licence": card.licence,
            "plate_space": plan.plate_space,
            "config": plan.config,
            "mask_channel": plan.mask_channel,
            "peak_memory_bytes": peak_memory_bytes(),
            **self._stages.facts(),
        }
        if plan.region is not None:
            width, height = plan.region.canvas
            facts |= {"look": plan.look, "gain_stops": plan.gain_stops, "canvas": f"{width}x{height}"}
        return facts


class _Keys:
    """Frame keys of one job, made from the digests of everything that each frame's windows read."""

    def __init__(self, plan: ShotPlan, inputs: ShotInputs, store: FrameStore) -> None:
        self._plan, self._inputs, self._store = plan, inputs, store
        self._plan_digest = plan.digest()
        self._roles = [role for role in ("plate", "mask") if role in inputs.sequences]
        self._own_roles = [role for role in ("core", "garbage") if role in inputs.sequences]

    def of(self, frame: int) -> str:
        """The key of one frame."""
        index, shot = self._inputs.index(frame), self._inputs.shot
        spans: Sequence[Span]
        if self._plan.temporal == "frame":
            spans = [self._plan.spans(len(shot))[index]]
        else:
            spans = self._plan.layout(len(shot)).covering(index)
        entries: list[tuple[str, int, str]] = []
        indices: list[int] = []
        for span in spans:
            entries.append(("window", shot[span.start], str(len(span))))
            for i in range(span.start, span.stop):
                indices.append(i)
                entries += [(role, shot[i], self._store.digest(role, shot[i])) for role in self._roles]
        entries += [(role, frame, self._store.digest(role, frame)) for role in self._own_roles]
        return frame_key(self._plan_digest, self._plan.region_digest(indices), frame, entries)


class _Tail:
    """The end of the pipe: finishing and writing on threads of their own, in order, behind a short queue.

    Leaving the block waits for what is under way, also after an error: a finished frame is never thrown away.
    """

    def __init__(
        self,
        finisher: Finisher,
        keys: _Keys,
        written: Callable[[int, list[tuple[str, str]], str], None],
        stages: Stages,
    ) -> None:
        self._finisher, self._keys, self._told, self._stages = finisher, keys, written, stages
        self._pool = ThreadPoolExecutor(FINISH_QUEUE, thread_name_prefix="finish")
        self._queue: deque[Future[None]] = deque()

    def take(self, result: FrameResult) -> None:
        """Finish and write one frame; waits while the queue is full. Raises what an earlier frame failed with."""
        while len(self._queue) >= FINISH_QUEUE:
            self._queue.popleft().result()
        self._queue.append(self._pool.submit(self._one, result))

    def __enter__(self) -> _Tail:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            while self._queue:
                self._queue.popleft().result()

    def _one(self, result: FrameResult) -> None:
        finished = self._finisher.finish(result)
        with self._stages.measure("key"):
            key = self._keys.of(result.number)
        self._told(result.number, self._finisher.write(finished, key), key)


def _new_frames(spans: Sequence[Span], numbers: tuple[int, ...], most: int) -> list[int]:
    seen = dict.fromkeys(numbers[i] for span in spans for i in range(span.start, span.stop))
    return list(seen)[:most]


def ended(key: str, outcome: str, tally: Tally | None = None, error: ErrorInfo | None = None) -> JobEnded:
    """The last message of a run."""
    if tally is None:
        return JobEnded(key=key, outcome=outcome, error=error)
    return JobEnded(
        key=key,
        outcome=outcome,
        written=tally.written,
        kept=tally.kept,
        facts=tally.facts,
        plan=tally.plan,
        error=error,
    )
