"""The canvas: the size at which a network sees the region of interest."""

from __future__ import annotations

from mattebridge.errors import InputError
from mattebridge_server.models.base import Canvas

MULTIPLE = 64
"""What a network's canvas is a multiple of, in pixels."""
TOKEN_SIDE = 8
MOST_TOKENS = 65_535
"""Latents of one frame, each `TOKEN_SIDE` pixels square: more have been reported to break temporal attention and to
poison the CUDA context."""


def fit_canvas(width: int, height: int, budget_pixels: int) -> Canvas:
    """The canvas for a region of ``width`` x ``height`` plate pixels within ``budget_pixels``.

    Sides are multiples of `MULTIPLE`; the canvas is never larger than the region rounded up, since a network gains
    nothing from enlarged pixels. Of the sizes that fit in, with at most `MOST_TOKENS` latents, the one that best keeps
    the aspect and uses the budget: an aspect error of 1 % weighs as much as 4 % of the area. Raises `InputError` for an
    empty region or a budget below one tile.
    """
    if width < 1 or height < 1:
        raise InputError(f"a region of {width}x{height} pixels has no canvas", remedy="Give a region with an area.")
    cap = min(budget_pixels, MOST_TOKENS * TOKEN_SIDE**2)
    if cap < MULTIPLE * MULTIPLE:
        raise InputError(
            f"a canvas budget of {budget_pixels} pixels is below the smallest canvas, {MULTIPLE}x{MULTIPLE}",
            remedy="Raise the budget or choose a preset.",
        )
    aspect = width / height
    best, best_score = Canvas(MULTIPLE, MULTIPLE), float("-inf")
    for columns in range(1, -(-width // MULTIPLE) + 1):
        tallest = min(-(-height // MULTIPLE), cap // (columns * MULTIPLE * MULTIPLE))
        ideal = columns / aspect
        for rows in {int(ideal), int(ideal) + 1, tallest}:
            if not 1 <= rows <= tallest:
                continue
            error = max(columns / rows / aspect, rows / columns * aspect) - 1
            score = columns * rows * MULTIPLE * MULTIPLE / min(cap, width * height) - 4 * error
            if score > best_score:
                best, best_score = Canvas(columns * MULTIPLE, rows * MULTIPLE), score
    return best
