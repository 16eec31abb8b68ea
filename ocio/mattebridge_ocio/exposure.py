"""One exposure gain for a whole shot, from a few of its frames.

Networks were trained on pictures whose middle lies near mid grey; a scene-linear plate can sit anywhere. The gain
brings the shot's log-average luminance there. It is made once per shot, never per frame, because a gain that follows
the frames would flicker; it is quantised, so that it is short in a plan and does not hang on the last bits of a sum.

The log-average alone would push a lit subject before a dark background far into white, where a network sees nothing of
its edge. As a photographer would, the gain leaves at most a twentieth of a frame above 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MID_GREY = 0.18
STEPS_PER_STOP = 8
MAX_STOPS = 10

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_DARKEST = 1e-5
_MIN_LIT_SHARE = 0.02
_TRIM_PERCENT = 2.0
_BRIGHT_PERCENTILE = 95.0
_MAX_ROWS = 540


def exposure_gain(samples: Iterable[NDArray[np.float32]]) -> float:
    """The gain that brings a shot to mid grey: a power of two in steps of an eighth of a stop, within ±10 stops.

    ``samples``: frames of the shot, each (H, W, 3) float32, finite, linear Rec.709. The log-average is taken over the
    lit pixels of each frame without the outermost 2 % (highlights, negatives and dead pixels do not count), then the
    median over the frames. A frame with less than 2 % of lit pixels is a black frame and ignored; a shot of only such
    frames gets 1. A frame whose 95th percentile of luminance would pass 1 asks for less.
    """
    wishes = [stops for frame in samples if (stops := _wished_stops(frame)) is not None]
    if not wishes:
        return 1.0
    stops = float(np.median(wishes))
    steps = round(np.clip(stops, -MAX_STOPS, MAX_STOPS) * STEPS_PER_STOP)
    return float(2.0 ** (steps / STEPS_PER_STOP))


def _wished_stops(frame: NDArray[np.float32]) -> float | None:
    stride = max(1, frame.shape[0] // _MAX_ROWS)
    luminance = frame[::stride, ::stride] @ _LUMINANCE
    lit = luminance[luminance > _DARKEST]
    if lit.size == 0 or lit.size < _MIN_LIT_SHARE * luminance.size:
        return None
    stops = np.log2(lit.astype(np.float64))
    low, high = np.percentile(stops, [_TRIM_PERCENT, 100.0 - _TRIM_PERCENT])
    average = float(stops[(stops >= low) & (stops <= high)].mean())
    bright = float(np.log2(max(np.percentile(luminance, _BRIGHT_PERCENTILE), _DARKEST)))
    return min(float(np.log2(MID_GREY)) - average, -bright)
