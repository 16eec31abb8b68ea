"""One job from its request to its last file.

    track → plan → read ahead → prepare → model, window by window → blend → finish → write

The model runs on the caller's thread; reading, finishing and writing have threads of their own behind bounded queues,
so that they overlap it and memory is a matter of windows, not of the shot's length.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mattebridge.errors import UsageError
from mattebridge.messages import JobRequest, ParamValue

from ..crashpoints import reach
from ..engine.wire import JobStep
from ..media import remove_stale_temporaries
from ..model_names import TRACKER
from ..models.base import FrameResult, Model
from ..site import Site
from .beside import Filler, in_the_name_of
from .control import Control, Emit
from .finish import Finisher, about_job
from .glance import look_at_masks, summed_up
from .inputs import require_files, resolve_inputs
from .keys import FileDigests, FrameKeys
from .model_pass import READ_AHEAD, ModelPass, read_frames
from .outputs import make_folders, resolve_outputs, results_with_keys
from .plan import ShotPlan, parse_plan
from .planner import Shot, as_planned, obey_plan, plan_shot, require_inputs
from .region import paste
from .reporter import Reporter
from .seam_watch import SeamWatch
from .store import FrameStore, MaskRule
from .tail import Tail, workers_for
from .timing import Stages, host_memory_bytes, peak_memory_bytes
from .tracking import Track, frames_to_make, keep_track, tell, track_folder

LONGEST_HELD_WINDOW = 16


@dataclass(frozen=True)
class Resources:
    """What a job borrows from its engine. ``threads`` is the number of cores it may keep busy.

    ``model_of`` gives a loaded model by name, for the steps besides the job's own model (tracking, clean plate).
    ``aside`` lends out the device memory that a named model would run in, while it waits for such a step. ``relieve``
    makes room for a named one whose memory ran out, while no other runs.
    """

    digests: FileDigests
    site: Site
    model_of: Callable[[str], Model]
    threads: int = 2
    profile: str = ""
    version: str = ""
    aside: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    relieve: Callable[[str], object] = lambda _: None


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
        self._request, self._model, self._res = request, model, res
        self._control, self._emit = control, emit
        self._tell = Reporter(key, emit)
        control.tell(self._tell.step)
        self._key = key
        self._stages = Stages()
        self._tracker: Model | None = None
        self._frozen: ShotPlan | None = parse_plan(frozen) if frozen else None
        self._inputs = resolve_inputs(request, self._frozen.frames if self._frozen else "")

    def plan_only(self) -> Tally:
        """Make the plan and nothing else."""
        with ExitStack() as stack:
            self._tell.started(len(self._inputs.frames), 0, self._model.card.name)
            self._track(stack)
            shot = self._shot()
            return Tally(0, 0, self._facts(shot), shot.plan.to_json())

    def run(
        self,
        spooled: bool = False,
        why: str = "",
        mine: set[Path] | None = None,
        before: Mapping[int, str] = MappingProxyType({}),
    ) -> Tally:
        """Matte the frames that are not fresh. ``spooled``: results are also announced for sending.

        ``mine``: files that an earlier round of this job made and this one may replace; its own are added. ``before``:
        frames and keys that an earlier attempt wrote; those that are still there are taken for such files too.
        """
        mine = set() if mine is None else mine
        mine |= results_with_keys(self._inputs, before)

        def written(frame: int, files: list[tuple[str, str]], key: str) -> None:
            mine.update(Path(path) for _, path in files)
            self._tell.written(frame, files, key)

        with ExitStack() as stack:
            layers = self._track(stack)
            shot = self._shot()
            needed = read_frames(shot.plan, self._inputs, self._inputs.frames)
            require_inputs(self._inputs, self._model.card.needs_mask, needed)
            workers = self._finish_workers(shot)
            store = self._store(shot, workers)
            stack.callback(store.close)
            keys = FrameKeys(shot.plan, self._inputs, store.digest)
            about = about_job(shot, self._model.card, self._tracker, self._res.profile, self._res.version)
            turn = threading.Lock()
            filler = Filler(self._res.model_of, self._res.relieve, turn, self._tell.warn)
            finisher = Finisher(shot, self._model.card, self._inputs, store, self._stages, about, filler)
            replace_all = self._request.overwrite or self._request.delivery == "planes"
            outputs = resolve_outputs(self._inputs, keys.of, finisher.extra, replace_all, mine)
            mine |= outputs.carried
            finisher.send_to(outputs)
            todo = [frame for frame in self._inputs.frames if frame not in outputs.fresh]
            make_folders(outputs, todo)
            self._warn_about_masks(todo)
            self._tell.begin(outputs, todo, keys, self._model.card.name, why, spooled)
            for folder in {outputs.path(role, frame).parent for role in self._inputs.results for frame in todo[:1]}:
                remove_stale_temporaries(str(folder))
            model_pass = ModelPass(
                self._model, shot, self._inputs, store, self._control, self._stages, self._tell.warn, layers, turn
            )
            seams = SeamWatch(shot.plan, self._inputs)
            with Tail(finisher, keys, written, workers) as tail:
                for result in seams.watch(model_pass.results(todo, self._step)):
                    tail.take(result)
            facts = {**self._facts(shot), **seams.facts()}
            if outputs.version:
                facts["version"] = outputs.version
            return Tally(len(todo), len(outputs.fresh), facts)

    # -- the shot ------------------------------------------------------------------------------------------------

    def _shot(self) -> Shot:
        self._control.checkpoint("plan")
        self._tell.stage("plan", len(self._inputs.frames))
        card, digest = self._model.card, self._model.digest()
        with self._stages.measure("plan"):
            if self._frozen is not None:
                shot = obey_plan(self._frozen, self._inputs, self._request, card, digest)
            else:
                require_files(self._inputs, "plate", self._inputs.frames)
                shot = plan_shot(self._inputs, self._request, card, digest, self._res.site, self._control)
        for message in shot.told:
            self._tell.warn("PLAN", message, None)
        return shot

    def _finish_workers(self, shot: Shot) -> int:
        _, _, width, height = shot.plan.plate
        return workers_for(self._res.threads, width * height, host_memory_bytes())

    def _store(self, shot: Shot, finishing: int) -> FrameStore:
        plan = shot.plan
        reach = 2 * plan.radius + 1 if plan.temporal == "frame" else min(plan.length, LONGEST_HELD_WINDOW)
        return FrameStore(
            self._inputs,
            shot.header,
            self._res.digests,
            self._stages,
            self._tell.warn,
            layer=self._request.plate_layer,
            rules={
                "mask": MaskRule(plan.mask_channel, plan.mask_invert, plan.mask_fit),
                "core": MaskRule(plan.core_channel, fit=plan.mask_fit),
                "garbage": MaskRule(plan.garbage_channel, fit=plan.mask_fit),
            },
            keep=reach + READ_AHEAD + finishing + 1,
            workers=max(1, self._res.threads),
        )

    def _warn_about_masks(self, todo: Sequence[int]) -> None:
        """For a range; a single frame's mask is what the artist looks at. Thin is no fault where `edge` runs."""
        card = self._model.card
        if not (card.preflight and len(self._inputs.frames) > 1 and self._request.mask):
            return

        def looking(done: int) -> None:
            self._control.checkpoint("masks")
            self._tell.stage("masks", len(todo), todo[done - 1] if done else None)

        with self._stages.measure("preflight"):
            seen = look_at_masks(self._inputs, self._request, todo, looking).findings
        told = tuple(one for one in seen if one.kind != "small_feature" or card.plate_state == "display")
        for finding, more in summed_up(told):
            others = f" (and {more} more like it)" if more else ""
            self._tell.warn(finding.kind.upper(), finding.message + others, finding.frame)

    def _step(self, window: int, frames: tuple[int, ...]) -> None:
        self._emit(JobStep(key=self._key, window=window, frames=frames))
        self._tell.window(frames)
        reach("window-before", frames[0] if frames else None)

    # -- masks that the job makes itself ---------------------------------------------------------------------------

    def _track(self, stack: ExitStack) -> tuple[str, ...]:
        """Make the masks that the shot lacks; the objects' layers where there are several."""
        if self._model.card.temporal == "shot":
            return ()
        make = frames_to_make(self._inputs, self._request.prompts, self._request.fill)
        if not make:
            return ()
        folder = track_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        with self._res.aside(self._model.card.name):
            name = self._request.fill or TRACKER
            with in_the_name_of(name):
                tracker = self._tracker = self._res.model_of(name)
            if tracker.card.temporal != "shot":
                raise UsageError(f"{tracker.card.name} cannot make masks", remedy=f"Use --fill {TRACKER}.")
            track = self._run_tracker(tracker, make, folder)
        self._inputs = track.inputs
        self._tell.warn("TRACKED", tell(track, tracker.card.name), None)
        return track.layers

    def _run_tracker(self, tracker: Model, make: tuple[int, ...], folder: Path) -> Track:
        self._tell.stage("track", len(self._inputs.frames))
        stated = self._request if self._frozen is None else as_planned(self._request, self._frozen)
        request = replace(stated, model=tracker.card.name, params={}, preset="", precision="")
        require_files(self._inputs, "plate", self._inputs.shot)
        shot = plan_shot(self._inputs, request, tracker.card, tracker.digest(), self._res.site, self._control)
        store = self._store(shot, 1)
        try:
            walk = ModelPass(
                tracker,
                shot,
                self._inputs,
                store,
                self._control,
                self._stages,
                self._tell.warn,
                relieve=lambda: self._res.relieve(tracker.card.name),
            )
            found = walk.results(self._inputs.shot, self._step)
            with in_the_name_of(tracker.card.name):
                return keep_track(self._on_plate(shot, found), self._inputs, make, shot.header, folder)
        finally:
            store.close()

    def _on_plate(self, shot: Shot, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """A tracker's masks on the plate's grid."""
        region, size = shot.plan.region, (shot.plan.plate[2], shot.plan.plate[3])
        for result in results:
            self._tell.stage("track", len(self._inputs.frames), result.number)
            if region is None:
                yield result
                continue
            index, empty = self._inputs.index(result.number), np.zeros(size[::-1], np.float32)
            layers = {name: paste(layer, region, index, size, empty) for name, layer in result.layers.items()}
            yield FrameResult(result.number, paste(result.alpha, region, index, size, empty), layers)

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


__all__ = ["JobRun", "Resources", "Tally"]
