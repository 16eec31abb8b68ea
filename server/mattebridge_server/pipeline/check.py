"""A job as a dry run: everything that can be known to be wrong before the first frame is read.

Each question is asked on its own, so that a user hears of every problem at once. Nothing is written, no folder is made,
no model is loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from mattebridge.errors import MatteBridgeError, OutputExists, OutputFailed
from mattebridge.messages import ErrorInfo, JobRequest, ParamValue

from ..engine.wire import JobChecked
from ..media import check_same_geometry, read_header
from ..model_names import AUTO
from ..models.base import ModelCard
from ..models.registry import Registry
from ..paths import resolve
from ..site import Site
from .control import Control
from .glance import glance_at_masks, summed_up
from .inputs import ShotInputs, exists, resolve_inputs
from .outputs import key_on_disk
from .params import resolve_params, resolve_preset
from .plan import parse_plan, sample_indices
from .planner import obey_plan, plan_shot, reference_header, require_inputs, shot_colour
from .tracking import frames_to_make

LOW_DISK_BYTES = 2 << 30
MOST_RESULTS_EXAMINED = 2000


@dataclass
class _Findings:
    problems: list[ErrorInfo] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, ParamValue] = field(default_factory=dict)
    frames: int = 0
    fresh: int = 0

    def ask(self, question: Callable[[], object]) -> bool:
        """Run one check; its error becomes a problem, unless the same was found before."""
        try:
            question()
        except MatteBridgeError as error:
            info = ErrorInfo.of(error)
            if info not in self.problems:
                self.problems.append(info)
            return False
        return True


def check_job(number: int, request: JobRequest, plan: bytes, site: Site, registry: Registry) -> JobChecked:
    """Look at a request as the engine would; ``number`` is handed back."""
    found = _Findings()
    request = site.apply_preset(request)
    _Check(request, plan, site, registry, found).run()
    return JobChecked(
        number=number,
        problems=tuple(found.problems),
        warnings=tuple(found.warnings),
        frames=found.frames,
        fresh=found.fresh,
        facts=found.facts,
    )


class _Check:
    def __init__(self, request: JobRequest, plan: bytes, site: Site, registry: Registry, found: _Findings) -> None:
        self._request, self._plan, self._site, self._registry, self._found = request, plan, site, registry, found

    def run(self) -> None:
        card = self._card()
        if not self._found.ask(self._resolve):
            return
        self._found.frames = len(self._inputs.frames)
        if not self._found.ask(self._inside_roots):
            return
        present = card is None or self._found.ask(lambda: self._files(card))
        if self._found.ask(self._sizes) and not self._plan:
            self._found.ask(self._colour)
        if present and not self._found.problems:
            if card is not None:
                self._found.ask(lambda: self._shot(card))
            if card is None or card.preflight:
                self._found.ask(self._masks)
        self._found.ask(self._writable)
        self._found.ask(self._results)

    def _card(self) -> ModelCard | None:
        """The model's card; None for `auto`, which is settled when the job runs, and for a model that is not there."""
        if self._request.model == AUTO:
            return None
        cards: list[ModelCard] = []
        name = self._request.model
        self._found.ask(lambda: cards.append(self._registry.get(name).card))
        if cards:
            self._found.ask(lambda: resolve_params(cards[0], self._request.params))
            if not self._plan:
                self._found.ask(lambda: resolve_preset(cards[0], self._request.preset))
        return cards[0] if cards else None

    def _resolve(self) -> None:
        shot = parse_plan(self._plan).frames if self._plan else ""
        self._inputs: ShotInputs = resolve_inputs(self._request, shot)

    def _inside_roots(self) -> None:
        frames = sorted({self._inputs.shot[index] for index in sample_indices(len(self._inputs.shot))})
        for role in self._inputs.sequences:
            for frame in frames:
                path = self._inputs.path(role, frame)
                assert path is not None
                resolve(str(path.absolute()) if not self._site.roots else str(path), self._site.roots)

    def _files(self, card: ModelCard) -> None:
        """What the job will read; masks that it makes itself are not asked for."""
        if card.temporal == "shot":
            require_inputs(self._inputs, "none" if self._request.prompts else card.needs_mask, self._inputs.shot)
        elif frames_to_make(self._inputs, self._request.prompts, self._request.fill):
            require_inputs(self._inputs, "none", self._inputs.shot)
        else:
            require_inputs(self._inputs, card.needs_mask, self._inputs.frames)

    def _sizes(self) -> None:
        """First and last plate are of one size, and the layer is there."""
        first = reference_header(self._inputs, self._request.plate_layer)
        last = self._inputs.path("plate", self._inputs.shot[-1])
        if exists(last):
            frame, layer, view = self._inputs.shot[-1], self._request.plate_layer, self._inputs.view
            header = read_header(str(last), frame=frame, layer=layer, view=view)
            check_same_geometry(first, header)
        self._found.facts |= {
            "plate_width": first.display_window.width,
            "plate_height": first.display_window.height,
            "pixel_aspect": first.pixel_aspect,
        }

    def _colour(self) -> None:
        header = reference_header(self._inputs, self._request.plate_layer)
        shot_colour(header, self._request, self._site)

    def _shot(self, card: ModelCard) -> None:
        """Colour, mask channel and, for a frozen plan, whether it belongs to this shot."""
        cls = self._registry.get(card.name)
        if self._plan:
            plan = parse_plan(self._plan)
            shot = obey_plan(plan, self._inputs, self._request, card, plan.model_digest)
        else:
            bare = self._sampled()
            shot = plan_shot(bare, self._request, card, cls().digest(), self._site, Control())
        self._found.warnings += shot.told
        self._found.facts |= {"plate_space": shot.plan.plate_space, "config": shot.plan.config}
        self._found.facts |= {"config_digest": shot.plan.config_digest, "mask_channel": shot.plan.mask_channel}
        if shot.plan.region is not None:
            width, height = shot.plan.region.canvas
            self._found.facts |= {"canvas_width": width, "canvas_height": height, "gain_stops": shot.plan.gain_stops}

    def _masks(self) -> None:
        seen = glance_at_masks(self._request, self._inputs)
        self._found.warnings += [finding.message for finding, _ in summed_up(seen.findings)]
        if seen.feature_px < float("inf"):
            self._found.facts["feature_px"] = round(seen.feature_px)

    def _sampled(self) -> ShotInputs:
        """The shot reduced to the few frames that a quick look may cost."""
        chosen = tuple(self._inputs.shot[index] for index in sample_indices(len(self._inputs.shot)))
        there = tuple(frame for frame in chosen if exists(self._inputs.path("plate", frame)))
        return ShotInputs(there or chosen[:1], there or chosen[:1], self._inputs.sequences, self._inputs.view)

    def _writable(self) -> None:
        for role in self._inputs.results:
            path = self._inputs.path(role, self._inputs.frames[0])
            assert path is not None
            folder = next(parent for parent in path.absolute().parents if exists(parent))
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                raise OutputFailed(f"the server may not write into {folder}", file=str(path))
            if (free := shutil.disk_usage(folder).free) < LOW_DISK_BYTES:
                self._found.warnings.append(f"only {free >> 20} MiB are free under {folder}")

    def _results(self) -> None:
        """Results that are there already; whether they are fresh is decided frame by frame when the job runs."""
        there = foreign = 0
        for frame in self._inputs.frames[:MOST_RESULTS_EXAMINED]:
            path = self._inputs.path("alpha", frame)
            if path is None or (key := key_on_disk(path)) is None:
                continue
            there, foreign = there + 1, foreign + (not key)
        self._found.fresh = there - foreign
        self._found.facts["results_found"] = there
        if foreign and not self._request.overwrite:
            raise OutputExists(
                f"{foreign} files in the way are not results of mattebridge",
                file=self._inputs.sequences["alpha"].pattern,
            )
