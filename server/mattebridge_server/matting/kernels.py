"""Per-pixel arithmetic of the edge solver, compiled once and cached.

Kernels take a range of rows (or of listed pixels) and release the interpreter, so that `in_stripes` can share them out.
Each pixel is computed by itself in a fixed order: results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

FAST = {"contract", "arcp"}
"""Allowed in compiled arithmetic: fused multiply-add and reciprocals, but no reordering of sums."""


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile for calls from several threads at once; kept on disk where some cache folder can be written."""
    try:
        kernel: Callable[..., None] = nb.njit(cache=True, nogil=True, fastmath=FAST)(function)
    except RuntimeError:  # numba found no folder for its cache: every start compiles anew
        kernel = nb.njit(nogil=True, fastmath=FAST)(function)
    return kernel


_part: Callable[..., Any] = nb.njit(nogil=True, fastmath=FAST)

BLOCK = 256
STRIPES = 16
HALO_STRIPES = 4
"""Few, where rows at the ends of a stripe are computed twice."""


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept between calls: a frame makes dozens, and a thread costs as much as a small stripe."""
    return ThreadPoolExecutor(threads, thread_name_prefix="matting")


def in_stripes(
    threads: int, count: int, kernel: Callable[..., None], *arguments: object, stripes: int = STRIPES
) -> None:
    """Run ``kernel(first, last, *arguments)`` over ``count`` rows on ``threads`` threads.

    A kernel may share out work in its turn: whatever no thread is free for, who shares it out does alone.
    """
    edges = [count * i // stripes for i in range(stripes + 1)]
    spans = iter([(first, last) for first, last in pairwise(edges) if last > first])

    def work() -> None:
        for first, last in spans:  # one list for all: who is free takes the next
            kernel(first, last, *arguments)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)] if threads > 1 else []
    work()
    for other in others:
        if not other.cancel():
            other.result()


def by_rows(
    threads: int, function: Callable[..., NDArray[Any]], *images: NDArray[Any], halo: int = 0, dtype: Any = np.float32
) -> NDArray[Any]:
    """``function`` of whole images, taken a stripe of rows at a time: for numpy and OpenCV, which use one thread.

    ``images`` are (h, ...); the function gets the same rows of each and returns the shape that it got of the first,
    here as ``dtype``. ``halo`` is how many rows above and below a row its result depends on. No result depends on the
    stripes; temporaries of a stripe stay in the processor's cache.
    """
    out = np.empty(images[0].shape, dtype)

    def some(first: int, last: int) -> None:
        top, bottom = max(0, first - halo), min(len(out), last + halo)
        made = function(*(image[top:bottom] for image in images))
        out[first:last] = made[first - top : last - top]

    in_stripes(threads, len(out), some, stripes=HALO_STRIPES if halo else STRIPES)
    return out


@_part
def _sample(field, y, x, step, count, out):  # type: ignore[no-untyped-def]
    """Bilinear value of the ``count`` channels of a coarse field at pixel (y, x)."""
    rows, columns = field.shape[0], field.shape[1]
    fy = min(max((y + 0.5) / step - 0.5, 0.0), rows - 1.0)
    fx = min(max((x + 0.5) / step - 0.5, 0.0), columns - 1.0)
    y0, x0 = int(fy), int(fx)
    y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
    ty, tx = np.float32(fy - y0), np.float32(fx - x0)
    one = np.float32(1.0)
    a, b, c, d = (one - ty) * (one - tx), (one - ty) * tx, ty * (one - tx), ty * tx
    for k in range(count):
        out[k] = a * field[y0, x0, k] + b * field[y0, x1, k] + c * field[y1, x0, k] + d * field[y1, x1, k]


@_part
def _row(field, y, step, out):  # type: ignore[no-untyped-def]
    """The values of a coarse field along pixel row y, still one a cell: (columns, C)."""
    rows = field.shape[0]
    fy = min(max((y + 0.5) / step - 0.5, 0.0), rows - 1.0)
    y0 = int(fy)
    y1, t = min(y0 + 1, rows - 1), np.float32(fy - y0)
    for x in range(field.shape[1]):
        for k in range(field.shape[2]):
            out[x, k] = (np.float32(1.0) - t) * field[y0, x, k] + t * field[y1, x, k]


@_part
def _along(row, x, step, count, out):  # type: ignore[no-untyped-def]
    """Values of the ``count`` channels of such a row at pixel x."""
    columns = row.shape[0]
    fx = min(max((x + 0.5) / step - 0.5, 0.0), columns - 1.0)
    x0 = int(fx)
    x1, t = min(x0 + 1, columns - 1), np.float32(fx - x0)
    for k in range(count):
        out[k] = (np.float32(1.0) - t) * row[x0, k] + t * row[x1, k]


@_compiled
def distance_from(first, last, samples, field, active, step, out):  # type: ignore[no-untyped-def]
    """Mahalanobis distance of ``samples`` (h, w, 3) from a coarse field of mean and inverse covariance (.., 9)."""
    row, g = np.empty(field.shape[1:], np.float32), np.empty(9, np.float32)
    for y in range(first, last):
        _row(field, y, step, row)
        for x in range(samples.shape[1]):
            if not active[y, x]:
                continue
            _along(row, x, step, 9, g)
            r, s, t = samples[y, x, 0] - g[0], samples[y, x, 1] - g[1], samples[y, x, 2] - g[2]
            square = g[3] * r * r + g[4] * s * s + g[5] * t * t
            cross = g[6] * r * s + g[7] * r * t + g[8] * s * t
            out[y, x] = math.sqrt(max(square + np.float32(2.0) * cross, np.float32(0.0)))


@_compiled
def project(first, last, plate, field, active, step, mix, doubt):  # type: ignore[no-untyped-def]
    """Coverage of each pixel between the local colours, in linear light.

    ``field`` is coarse (.., 12): foreground, background, and the inverse covariance of what neither explains. Writes
    the unclipped coverage and its standard deviation.
    """
    row, g = np.empty(field.shape[1:], np.float32), np.empty(12, np.float32)
    for y in range(first, last):
        _row(field, y, step, row)
        for x in range(plate.shape[1]):
            if not active[y, x]:
                continue
            _along(row, x, step, 12, g)
            d0, d1, d2 = g[0] - g[3], g[1] - g[4], g[2] - g[5]
            w0 = g[6] * d0 + g[9] * d1 + g[10] * d2
            w1 = g[9] * d0 + g[7] * d1 + g[11] * d2
            w2 = g[10] * d0 + g[11] * d1 + g[8] * d2
            precision = max(w0 * d0 + w1 * d1 + w2 * d2, np.float32(1e-9))
            p0, p1, p2 = plate[y, x, 0], plate[y, x, 1], plate[y, x, 2]
            mix[y, x] = (w0 * (p0 - g[3]) + w1 * (p1 - g[4]) + w2 * (p2 - g[5])) / precision
            doubt[y, x] = np.float32(1.0) / math.sqrt(precision)


@_compiled
def compare(first, last, plate, field, active, step, floor, coverage, misfit):  # type: ignore[no-untyped-def]
    """How far a mix of the local colours (a field as for `project`) by ``coverage`` lies from each pixel, in stops."""
    row, g = np.empty(field.shape[1:], np.float32), np.empty(6, np.float32)
    for y in range(first, last):
        _row(field, y, step, row)
        for x in range(plate.shape[1]):
            if not active[y, x]:
                continue
            _along(row, x, step, 6, g)
            a, worst = coverage[y, x], np.float32(1.0)
            for k in range(3):
                there = max(plate[y, x, k], np.float32(0.0)) + floor
                made = max(g[3 + k] + a * (g[k] - g[3 + k]), np.float32(0.0)) + floor
                worst = max(worst, max(there / made, made / there))
            misfit[y, x] = math.log2(worst)


@_compiled
def sample(first, last, where, field, step, row, out):  # type: ignore[no-untyped-def]
    """Values of a coarse field at the pixels ``where`` (N, 2), written from ``row`` of ``out`` (K, N) on."""
    for n in range(first, last):
        _sample(field, where[n, 0], where[n, 1], step, field.shape[2], out[row:, n])


@_compiled
def weighted_cells(first, last, samples, weight, step, out):  # type: ignore[no-untyped-def]
    """Sums over cells of ``step`` pixels of ``weight`` x (``samples``, 1), by the cell's area: (rows, columns, 4)."""
    height, width = weight.shape
    area = np.float32(1.0 / (step * step))
    for row in range(first, last):
        for y in range(row * step, min(row * step + step, height)):
            for column in range(out.shape[1]):
                cell = out[row, column]
                for x in range(column * step, min(column * step + step, width)):
                    w = weight[y, x] * area
                    if w == 0:
                        continue
                    cell[0] += w * samples[y, x, 0]
                    cell[1] += w * samples[y, x, 1]
                    cell[2] += w * samples[y, x, 2]
                    cell[3] += w


@_compiled
def covariance_cells(first, last, samples, weight, centre, step, out):  # type: ignore[no-untyped-def]
    """As `weighted_cells`, for the six products of what lies off the coarse field ``centre``, of every fourth pixel."""
    height, width = weight.shape
    g = np.empty(3, np.float32)
    for row in range(first, last):
        for y in range(row * step, min(row * step + step, height), 2):
            for x in range(0, width, 2):
                w = weight[y, x]
                if w == 0:
                    continue
                _sample(centre, y, x, step, 3, g)
                r, s, t = samples[y, x, 0] - g[0], samples[y, x, 1] - g[1], samples[y, x, 2] - g[2]
                cell = out[row, x // step]
                cell[0] += w * r * r
                cell[1] += w * s * s
                cell[2] += w * t * t
                cell[3] += w * r * s
                cell[4] += w * r * t
                cell[5] += w * s * t
                cell[6] += w


@_compiled
def perceptron(first, last, features, w1, b1, w2, b2, w3, b3, out):  # type: ignore[no-untyped-def]
    """Two hidden layers with rectifiers: (K, N) -> (C, N). Blocks of pixels fill the vector units."""
    h1 = np.empty((w1.shape[0], BLOCK), np.float32)
    h2 = np.empty((w2.shape[0], BLOCK), np.float32)
    h3 = np.empty((w3.shape[0], BLOCK), np.float32)
    x = np.zeros((features.shape[0], BLOCK), np.float32)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        x[:, :size] = features[:, start : start + size]
        _layer(x, w1, b1, h1, True)
        _layer(h1, w2, b2, h2, True)
        _layer(h2, w3, b3, h3, False)
        out[:, start : start + size] = h3[:, :size]


@_part
def _layer(x, weight, bias, out, rectify):  # type: ignore[no-untyped-def]
    """Two outputs (their number is even) and four inputs at a time: reading and storing is what takes longest."""
    inputs = weight.shape[1]
    sums = np.empty((2, BLOCK), np.float32)
    for j in range(0, weight.shape[0], 2):
        v, w = weight[j], weight[j + 1]
        sums[0], sums[1] = bias[j], bias[j + 1]
        for k in range(0, inputs - 3, 4):
            v0, v1, v2, v3 = v[k], v[k + 1], v[k + 2], v[k + 3]
            w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            for n in range(BLOCK):
                a, b, c, d = x[k, n], x[k + 1, n], x[k + 2, n], x[k + 3, n]
                sums[0, n] = (((sums[0, n] + v0 * a) + v1 * b) + v2 * c) + v3 * d
                sums[1, n] = (((sums[1, n] + w0 * a) + w1 * b) + w2 * c) + w3 * d
        for k in range(inputs - inputs % 4, inputs):
            for n in range(BLOCK):
                sums[0, n] += v[k] * x[k, n]
                sums[1, n] += w[k] * x[k, n]
        for i in range(2):
            for n in range(BLOCK):
                out[j + i, n] = max(sums[i, n], np.float32(0.0)) if rectify else sums[i, n]
