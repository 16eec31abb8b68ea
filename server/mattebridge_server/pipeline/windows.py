"""Which windows a model runs over a shot, and how their overlapping results become one alpha per frame.

Windows are laid over the *indices* of the shot's ordered frame list, never over frame numbers, so that steps and gaps
need no rule of their own. With length L and stride S they start at 0, S, 2S …; the last one is moved back to n - L so
that every window is full, and a shot of at most L frames is one window. The layout is a function of the shot alone:
a chunk runs those of the shot's windows that cover its frames, whole, and so reads and weights what the whole shot
would. A frame's alpha is the normalised weighted sum over its windows in ascending order, which fixes the rounding.

    n = 40, L = 16, S = 12:   0..15   12..27   24..39
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Span:
    """One window: shot indices ``start`` (included) to ``stop`` (excluded), the ``number``-th of its layout."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and self.start <= index < self.stop


@dataclass(frozen=True)
class Layout:
    """The windows of one shot of ``frames`` frames."""

    frames: int
    length: int
    stride: int

    def __post_init__(self) -> None:
        if self.frames < 1 or self.length < 1 or not 1 <= self.stride <= self.length:
            raise ValueError(f"no windows of {self.length} every {self.stride} over {self.frames} frames")

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every window, in ascending order."""
        return _spans(self.frames, self.length, self.stride)

    def covering(self, index: int) -> tuple[Span, ...]:
        """The windows that a frame's alpha is made of, in the order in which they are summed."""
        if not 0 <= index < self.frames:
            raise IndexError(f"index {index} is outside a shot of {self.frames} frames")
        first = max(0, (index - self.length) // self.stride)
        near = self.spans[first : index // self.stride + 1] + self.spans[-1:]
        return tuple(dict.fromkeys(span for span in near if index in span))

    def needed(self, indices: Iterable[int]) -> tuple[Span, ...]:
        """The windows that these frames need, each once, in ascending order."""
        found = {span.number: span for index in indices for span in self.covering(index)}
        return tuple(found[number] for number in sorted(found))

    def weights(self, index: int) -> tuple[tuple[Span, float], ...]:
        """The windows of `covering` with their share of the frame's alpha; the shares add up to 1."""
        spans = self.covering(index)
        raw = [self._rise(span, index) for span in spans]
        total = sum(raw)
        return tuple((span, weight / total) for span, weight in zip(spans, raw, strict=True))

    def borders(self) -> tuple[int, ...]:
        """Indices at which one more window begins to take part, the first frame left out: where a seam would show."""
        return tuple(sorted({span.start for span in self.spans[1:]} | {s.stop for s in self.spans[:-1]}))

    def _rise(self, span: Span, index: int) -> float:
        """Trapezoid: rises over the overlap from either end, 1 in the middle; never 0, so that ends are covered."""
        ramp = self.length - self.stride + 1
        edge = min(index - span.start, span.stop - 1 - index) + 1
        return min(1.0, edge / ramp)


@lru_cache(maxsize=16)
def frame_layout(frames: int, radius: int) -> tuple[Span, ...]:
    """For a model that works frame by frame: one window per frame, ``radius`` neighbours where the shot has them."""
    return tuple(Span(i, max(0, i - radius), min(frames, i + radius + 1)) for i in range(frames))


@lru_cache(maxsize=16)
def _spans(frames: int, length: int, stride: int) -> tuple[Span, ...]:
    if frames <= length:
        return (Span(0, 0, frames),)
    starts = [*range(0, frames - length, stride), frames - length]
    return tuple(Span(number, start, start + length) for number, start in enumerate(starts))
