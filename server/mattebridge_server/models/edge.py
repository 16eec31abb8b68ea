"""`edge`: the embedded default. A coarse mask becomes alpha by looking at the plate; no network to fetch, no torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from mattebridge.errors import MissingFrames

from .base import Checkpoint, FrameResult, LoadSpec, Model, ModelCard, Param, ParamValue, Window

if TYPE_CHECKING:
    from mattebridge_server.matting.solve import SolveSettings
    from mattebridge_server.matting.steady import Moment

RADIUS = 1
KEPT = 2 * RADIUS + 1
"""Solved frames kept between windows: those that the next frame's window reads again."""


class Edge(Model):
    """Adaptive band, local colours in linear light, a judge of the evidence, and calm over time within one frame."""

    card: ClassVar[ModelCard] = ModelCard(
        name="edge",
        title="Edge",
        summary="Refines a coarse mask from the plate's own colours, in linear light; runs anywhere, needs no weights.",
        licence="Apache-2.0",
        temporal="frame",
        plate_state="linear",
        version="5",
        radius=RADIUS,
        params=(
            Param(
                "reach",
                140.0,
                "How far outside the mask hair and blur are looked for, in pixels at a plate height of 1080. It is a "
                "limit: where the plate shows nothing, the edge stays narrow.",
                label="Reach",
                low=8.0,
                high=300.0,
            ),
            Param(
                "depth",
                30.0,
                "How far inside the mask the edge may be corrected, in pixels at a plate height of 1080. Raise it for "
                "a mask that is too fat.",
                label="Depth",
                low=4.0,
                high=120.0,
            ),
            Param(
                "detail",
                1.0,
                "How much of what the plate shows goes into the edge: 1 all of it, 0 only the mask.",
                label="Detail",
                low=0.0,
                high=1.0,
            ),
            Param(
                "steady",
                True,
                "Calm grain flicker: where the plate stands still, average alpha with the frame before and after.",
                label="Steady",
            ),
        ),
    )

    def __init__(self) -> None:
        self._threads = 2
        self._solved: OrderedDict[tuple[str, str, SolveSettings], Moment] = OrderedDict()

    def load(self, spec: LoadSpec) -> None:
        """Nothing to fetch: takes the number of threads, on which no result depends, and has its code compiled."""
        from mattebridge_server.matting.solve import warm_up

        self._threads = max(1, spec.device.threads)
        warm_up()

    def unload(self) -> None:
        """Forget the frames kept between windows."""
        self._solved.clear()

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        """Alpha of each wanted frame from it and, with ``steady``, its neighbours; `MissingFrames` without a mask."""
        from mattebridge_server.matting.solve import SolveSettings
        from mattebridge_server.matting.steady import steady_alpha

        asked = {param.name: params.get(param.name, param.default) for param in self.card.params}
        settings = SolveSettings(float(asked["reach"]), float(asked["depth"]), float(asked["detail"]))
        for number in window.wanted:
            now = self._solve(window, number, settings, checkpoint)
            if now is None:
                raise MissingFrames(
                    f"Frame {number} has no mask, and edge needs one on every frame",
                    remedy="Add the mask of that frame, or fill the gaps with the model sam2.",
                    frame=number,
                )
            around = self._neighbours(window, number) if asked["steady"] else ()
            solved = [self._solve(window, other, settings, checkpoint) for other in around]
            checkpoint("steady")
            alpha = steady_alpha(now, [moment for moment in solved if moment is not None])
            yield FrameResult(number, alpha)

    def _neighbours(self, window: Window, number: int) -> tuple[int, ...]:
        """Up to `RADIUS` frames of the window on either side, in ascending order: the same in any chunk."""
        at = window.numbers.index(number)
        return window.numbers[max(0, at - RADIUS) : at] + window.numbers[at + 1 : at + 1 + RADIUS]

    def _solve(self, window: Window, number: int, settings: SolveSettings, checkpoint: Checkpoint) -> Moment | None:
        from mattebridge_server.matting.solve import solve_alpha
        from mattebridge_server.matting.steady import moment

        key = (window.plate_key(number), window.mask_key(number), settings)
        if key in self._solved:
            self._solved.move_to_end(key)
            return self._solved[key]
        mask = window.mask(number)
        if mask is None:
            return None
        checkpoint("solve")
        plate = window.plate(number)
        solved = moment(plate, solve_alpha(plate, mask, settings, self._threads), self._threads)
        self._solved[key] = solved
        while len(self._solved) > KEPT:
            self._solved.popitem(last=False)
        return solved
