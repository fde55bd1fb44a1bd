"""Convolutions and pooling of images whose channels lie in blocks (`landbridge.codegen.blocked_operators`).

A tile of a convolution is some pixels by one or two blocks of output channels. Of the pixels only one number at a time is in a register,
and it is multiplied with the vectors of all these blocks before the next: that way a step loads little more than half of what it
multiplies. Tiles at the edge of the image have code of their own; what lies around the image is copied beside it first, as zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import Contraction, extent_of, read_contraction, with_tiles
from landbridge.codegen.schedules.padding import pad_in_rows
from landbridge.codegen.schedules.register_tiles import Placed, TileAxis, write_tiles
from landbridge.codegen.schedules.vectors import Vectors, vectors_of

BLOCK = 16
"""Channels in a block: one vector with AVX-512, two with AVX2, four with NEON."""

BLOCKED = "landbridge.blocked"
"""Annotation of the block of a convolution ("blocks", "plain" or "depthwise") or of pooling ("pool") over channels in blocks."""

_CACHE_NBYTES = 640 << 10
"""Weights up to this size stay in the second-level cache while all pixels pass."""


class BlockedConvolution(Rule):
    """Convolutions over channels in blocks."""

    name = "blocked-convolution"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel in tiles, or None where it is no such convolution."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        contraction = read_contraction(kernel)
        if contraction is None or BLOCKED not in contraction.annotations or len(contraction.spatial) != 5:
            return None
        return _tiled(contraction, str(contraction.annotations[BLOCKED]), vectors_of(target))


def _tiled(contraction: Contraction, form: str, vectors: Vectors) -> Any:
    batch, blocks, height, width, _ = (extent_of(iterator) for iterator in contraction.spatial)
    in_block = -(-BLOCK // vectors.lanes)
    wide = 1 if form == "depthwise" or vectors.accumulators // in_block < 16 or blocks == 1 else 2
    high, across = pixel_tile(height, width, vectors.accumulators // (in_block * wide), wide * in_block)
    pixels = [TileAxis(height, high, "row"), TileAxis(width, across, "row")]
    channels = TileAxis(blocks, wide, "row")
    lane = TileAxis(BLOCK, BLOCK, "lane")
    n, c, y, x, in_lane = (iterator.var for iterator in contraction.spatial)
    weights_stay = form != "depthwise" and _weights_nbytes(contraction) <= _CACHE_NBYTES
    axes = [TileAxis(batch), *pixels, channels, lane] if weights_stay else [TileAxis(batch), channels, *pixels, lane]

    def placement(positions: Sequence[Any]) -> Placed:
        image, *rest, last = positions
        row, column, block = rest if weights_stay else (*rest[1:], rest[0])
        return {n: image, c: block, y: row, x: column, in_lane: last}

    tiles = write_tiles(contraction, axes, placement, vectors.lanes, inner=3 if weights_stay else 1)
    return pad_in_rows(with_tiles(contraction, tiles))


def _weights_nbytes(contraction: Contraction) -> int:
    nbytes = 4 * BLOCK * int(extent_of(contraction.spatial[1]))
    for iterator in contraction.reduced:
        nbytes *= int(extent_of(iterator))
    return nbytes


def pixel_tile(height: int, width: int, most: int, vectors: int) -> tuple[int, int]:
    """Return the rows and columns of a tile of at most ``most`` pixels, so that tiles cover an image at the least cost.

    Args:
        vectors: of sums of each pixel.
    """
    choices = ((most // columns, columns) for columns in range(1, min(width, most) + 1))
    found = min(((_cost(height, width, *choice, vectors), choice) for choice in choices), key=lambda one: (one[0], -one[1][1]))
    return min(found[1][0], height), found[1][1]


_LATENCY = 8  # sums of a tile that are needed to keep two units busy
_EVERY = 2  # what each tile costs besides, in the same measure


def _cost(height: int, width: int, rows: int, columns: int, vectors: int) -> int:
    total = 0
    for high, down in ((min(rows, height), height // min(rows, height)), (height % min(rows, height), 1)):
        for wide, across in ((min(columns, width), width // min(columns, width)), (width % min(columns, width), 1)):
            if high * wide:
                total += (max(high * wide * vectors, _LATENCY) + _EVERY) * down * across
    return total
