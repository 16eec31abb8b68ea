"""The canvas: the size at which a network sees the region of interest."""

from __future__ import annotations

from mattebridge.errors import InputError
from mattebridge_server.models.base import Canvas


def fit_canvas(
    width: int, height: int, budget_pixels: int, *, multiple: int = 64, max_tokens: int = 65_535, token_side: int = 8
) -> Canvas:
    """The canvas for a region of ``width`` x ``height`` plate pixels within ``budget_pixels``.

    Sides are multiples of ``multiple``; the canvas is never larger than the region rounded up, since a network gains
    nothing from enlarged pixels. Of the sizes that fit, the one that best keeps the aspect and uses the budget: an
    aspect error of 1 % weighs as much as 4 % of the area. ``max_tokens`` caps latent tokens, each ``token_side``
    pixels square. Raises `InputError` for an empty region or a budget below one tile.
    """
    if width < 1 or height < 1:
        raise InputError(f"a region of {width}x{height} pixels has no canvas", remedy="Give a region with an area.")
    cap = min(budget_pixels, max_tokens * token_side**2)
    if cap < multiple * multiple:
        raise InputError(
            f"a canvas budget of {budget_pixels} pixels is below the smallest canvas, {multiple}x{multiple}",
            remedy="Raise the budget or choose a preset.",
        )
    aspect = width / height
    best, best_score = Canvas(multiple, multiple), float("-inf")
    for columns in range(1, -(-width // multiple) + 1):
        tallest = min(-(-height // multiple), cap // (columns * multiple * multiple))
        ideal = columns / aspect
        for rows in {int(ideal), int(ideal) + 1, tallest}:
            if not 1 <= rows <= tallest:
                continue
            error = max(columns / rows / aspect, rows / columns * aspect) - 1
            score = columns * rows * multiple * multiple / min(cap, width * height) - 4 * error
            if score > best_score:
                best, best_score = Canvas(columns * multiple, rows * multiple), score
    return best
