"""How much softer than the plate an alpha is, and that softness taken away.

A network's alpha is softer than the picture it saw: a decoder blurs. By how much is found first. What takes it away
keeps what the network said at the scales that survive the blur; below them it follows the plate, as far as the plate
explains it. `focused` does so on a network's canvas, before `restore` enlarges it, and `sharpened` on the plate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import GUIDE_NOISE, LEAST_SIGMA, LocalFit, around, blurred, box, lacking

Float32 = NDArray[np.float32]

_RADIUS = 2
_BLURS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_SHARES = (0.0, 0.5, 0.75, 1.0)
_LEAST_DIP, _SURE_DIP = 0.03, 0.04
_LEAST_GAIN, _SURE_GAIN = 0.005, 0.02
_LEAST_EDGE = 1e-3
_LEAST_REAL = 0.1
_ROUNDS, _TRIAL_ROUNDS = 8, 3
_UNEXPLAINED_DEVIATION = 0.04
_SMOOTH_BLUR = 1.0
_MARGIN = 16.0
_CALM_SIGMA = 1.8
_CALM_DEVIATION = 0.015


@dataclass(frozen=True)
class Sharpened:
    """``alpha`` with its detail, and ``detailed``: 1 where it has any, 0 where its edge is smooth; both (H, W).

    ``softness`` is the blur that was taken away, a sigma in the network's pixels.
    """

    alpha: Float32
    detailed: Float32
    softness: float


def focused(alpha: Float32, codes: Float32) -> Float32:
    """``alpha`` (h, w) made as sharp as the ``codes`` (h, w, 3) that the network saw, on the network's own pixels."""
    return _sharpened(alpha, codes, GUIDE_NOISE, 1.0, 0.0).alpha


def sharpened(alpha: Float32, codes: Float32, noise: Float32, unit: float) -> Sharpened:
    """``alpha`` (H, W) made as sharp as the plate's ``codes`` (H, W, 3), whose grain has the variance ``noise``.

    Where the plate's edge is smooth, alpha's own noise is calmed instead. What is 0 or 1 stays so. ``unit`` is the
    plate's height over 1080.
    """
    size = max(unit, 1.0)  # a network blurs by its own pixels, which are not smaller than the plate's
    sharp, detailed = alpha.copy(), np.zeros_like(alpha)
    near = np.ones((3, 3), np.uint8)
    changing = np.asarray(cv2.dilate(alpha, near) != cv2.erode(alpha, near))
    place = around(changing, round(_MARGIN * size))  # elsewhere nothing is lacking
    if place is None:
        return Sharpened(sharp, detailed, 0.0)
    own_alpha, own_codes, own_noise = (np.ascontiguousarray(image[place]) for image in (alpha, codes, noise))
    part = _sharpened(own_alpha, own_codes, own_noise, size, _CALM_SIGMA)
    sharp[place], detailed[place] = part.alpha, part.detailed
    return Sharpened(sharp, detailed, part.softness)


def _sharpened(alpha: Float32, codes: Float32, noise: Float32 | float, size: float, calm_sigma: float) -> Sharpened:
    """`sharpened`; ``size`` is that of a network's pixel, ``calm_sigma`` the blur of smooth edges in such pixels."""
    fit = LocalFit(codes, _RADIUS)
    blur = _softness(alpha, codes, noise, fit, size)
    slope, detail = _lost(alpha, codes, fit, blur, noise)
    energy = lacking(slope, codes - blurred(codes, _SMOOTH_BLUR * size), noise)[1]
    detailed = np.asarray(energy / (energy + np.float32(_CALM_DEVIATION**2)), np.float32)
    sharp = _without_blur(alpha, detail, fit, blur, _ROUNDS) if blur >= LEAST_SIGMA else alpha
    calm = blurred(alpha, calm_sigma * size) + detail
    result = np.clip(calm + detailed * (sharp - calm), 0, 1)
    known = (alpha <= 0) | (alpha >= 1)
    return Sharpened(np.where(known, alpha, result).astype(np.float32), detailed, blur / size)


def _softness(alpha: Float32, codes: Float32, noise: Float32 | float, fit: LocalFit, size: float) -> float:
    """Sigma in pixels of the blur that ``alpha`` has and ``codes`` have not, up to 2.8 x ``size``; 0 where none.

    The blur of the plate that explains alpha best is a first guess, too wide where fibres are thinner than a pixel. Of
    that and less, the one is right without which the sharp plate explains alpha best: too much of it leaves a pattern.
    """
    grey = (codes[..., 0] + codes[..., 1] + codes[..., 2]) * np.float32(1 / 3)
    grain = box(np.broadcast_to(np.float32(noise), codes.shape).sum(axis=-1) * np.float32(1 / 9), _RADIUS)
    left = []
    for sigma in _BLURS:
        left.append(_unexplained(alpha, blurred(grey, sigma * size), grain * np.float32(_kept(sigma * size))))
    guess = _lowest(_BLURS, left) * size
    # Blurring takes away texture too, and so explains a smooth edge a little better the wider it is.
    sure = _share(1 - min(left) / max(left[0], 1e-9), _LEAST_DIP * guess / size, _SURE_DIP * guess / size)
    if guess < LEAST_SIGMA or sure == 0:
        return 0.0
    blurs, left = [share * guess for share in _SHARES], left[:1]
    for blur in blurs[1:]:
        detail = _lost(alpha, codes, fit, blur, GUIDE_NOISE)[1]
        left.append(_unexplained(_without_blur(alpha, detail, fit, blur, _TRIAL_ROUNDS), grey, grain))
    return _lowest(blurs, left) * sure * _share(1 - min(left) / max(left[0], 1e-9), _LEAST_GAIN, _SURE_GAIN)


def _share(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / max(high - low, 1e-9), 0, 1))


def _lost(
    alpha: Float32, codes: Float32, fit: LocalFit, blur: float, noise: Float32 | float
) -> tuple[Float32, Float32]:
    """Slope from equally soft codes to ``alpha``, and the detail that a ``blur`` took from it."""
    soft = blurred(codes, blur)
    slope = (fit if soft is codes else LocalFit(soft, _RADIUS)).slope(alpha)
    return slope, lacking(slope, codes - soft, noise)[0]


def _without_blur(alpha: Float32, detail: Float32, fit: LocalFit, blur: float, rounds: int) -> Float32:
    """``alpha`` (H, W) without its ``blur``, from a first guess of its ``detail``.

    Rounds go between what the plate explains and what the network said. The first holds as far as the plate explains
    alpha at all. The second: made soft again it has to be what it was (van Cittert, Zeitschrift fuer Physik 69, 1931).
    Without the first, any difference between the real blur and a Gaussian becomes a pattern.
    """
    known = (alpha <= 0) | (alpha >= 1)
    free = np.float32(_UNEXPLAINED_DEVIATION**2)
    sharp = np.where(known, alpha, np.clip(alpha + detail, 0, 1))
    for _ in range(rounds):
        fitted = np.clip(fit.fitted(sharp), 0, 1)
        off = box(np.square(fitted - sharp), _RADIUS + 1)
        sharp = sharp + free / (free + off) * (fitted - sharp)
        sharp = np.where(known, alpha, np.clip(sharp + alpha - blurred(sharp, blur), 0, 1))
    return np.asarray(sharp, np.float32)


def _lowest(places: Sequence[float], values: Sequence[float]) -> float:
    """Where the parabola through the least of ``values`` and its neighbours is lowest."""
    best = int(np.argmin(values))
    if not 0 < best < len(places) - 1:
        return places[best]
    near = slice(best - 1, best + 2)
    square, slope, _ = np.polyfit(places[near], values[near], 2)
    return float(np.clip(-slope / (2 * square), places[best - 1], places[best + 1])) if square > 0 else places[best]


def _unexplained(alpha: Float32, guide: Float32, noise: Float32) -> float:
    """Share of the variation of ``alpha`` (H, W) at its edges that is no linear function of ``guide`` (H, W).

    What the guide's ``noise``, a variance (H, W), adds to its own variation is left out; without that a guide would
    explain anything better once it is blurred.
    """
    mean, middle = box(alpha, _RADIUS), box(guide, _RADIUS)
    spread = box(alpha * alpha, _RADIUS) - mean * mean
    along = box(guide * alpha, _RADIUS) - middle * mean
    across = box(guide * guide, _RADIUS) - middle * middle
    across = np.maximum(across - noise, np.float32(_LEAST_REAL) * across) + np.float32(GUIDE_NOISE)
    weight = np.where(spread > np.float32(_LEAST_EDGE), spread, 0)
    left = np.maximum(spread - along * along / across, 0)
    return float((left * weight).sum() / max(float((spread * weight).sum()), 1e-9))


def _kept(sigma: float) -> float:
    """Share of the variance of white noise that a Gaussian blur of ``sigma`` pixels leaves."""
    if sigma < LEAST_SIGMA:
        return 1.0
    kernel = cv2.getGaussianKernel(2 * round(4 * sigma) + 1, sigma)
    return float(np.square(kernel).sum()) ** 2
