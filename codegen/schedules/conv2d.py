"""Two-dimensional convolutions, as register tiles, without a change of layout.

Three forms, all written by `landbridge.codegen.pack_weights`: with packed weights, vectors run along output channels and a tile
covers some pixels of some rows; where the window is one pixel, vectors run along the pixels as in a matrix product; where each
channel is convolved alone, vectors run along a row of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tvm
from tvm import tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import Contraction, extent_of, loads_in, read_contraction, replaced, with_tiles
from landbridge.codegen.schedules.matmul import PANEL, tile_of
from landbridge.codegen.schedules.padding import pad_in_rows
from landbridge.codegen.schedules.register_tiles import Placed, TileAxis, is_constant, is_contiguous, write_tiles, writes_along_lanes
from landbridge.codegen.schedules.vectors import Vectors, vectors_of

GROUPS = "landbridge.groups"
"""Annotation of a convolution's block: into how many groups its channels fall."""

_CACHE_NBYTES = 1 << 18
"""Weights up to this size stay in the second-level cache while all pixels pass."""


def panel_of_conv2d(channels: int, vectors: Vectors) -> int:
    """Return how many output channels a tile has, of a group with ``channels``."""
    wide = 1 if vectors.registers >= 32 and vectors.lanes >= 16 else 2 if vectors.lanes >= 8 else 4
    return vectors.lanes * min(wide, max(1, -(-channels // vectors.lanes)))


def as_product(pixels: int, vectors: Vectors) -> bool:
    """Return whether a convolution with a window of one pixel has vectors along its pixels."""
    return pixels >= 4 * vectors.lanes


class Conv2d(Rule):
    """Convolutions with constant weights."""

    name = "conv2d"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel in tiles, or None where it is no such convolution."""
        contraction = read_contraction(kernel)
        if contraction is None or GROUPS not in contraction.annotations or len(contraction.spatial) != 4:
            return None
        vectors = vectors_of(target)
        groups = int(contraction.annotations[GROUPS])
        if PANEL in contraction.annotations:
            return _packed(contraction, groups, int(contraction.annotations[PANEL]), vectors)
        return _pointwise(contraction, groups, vectors) if len(contraction.reduced) == 1 else _depthwise(contraction, vectors)


def _grouped(contraction: Contraction, groups: int, panel: int | None) -> tuple[Contraction, Any, Any]:
    """Return the contraction in terms of a group and a channel in it, and these two variables."""
    group, channel = tirx.Var("group", "int64"), tirx.Var("channel", "int64")
    own = extent_of(contraction.spatial[1]) // groups
    data = loads_in(contraction.left)[0]
    indices = [tvm.sym.Analyzer().simplify(replaced(index, {contraction.spatial[1].var: group * own})) for index in data.indices]
    weight = loads_in(contraction.right)[0]
    inner = list(weight.indices)
    if panel is not None:
        inner = [group, tirx.floordiv(channel, panel), *inner[2:6], tirx.floormod(channel, panel)]
    else:
        inner[0] = group * own + channel
    left, right = tirx.BufferLoad(data.source, indices), tirx.BufferLoad(weight.source, inner)
    return replace(contraction, left=left, right=right), group, channel


def _packed(contraction: Contraction, groups: int, panel: int, vectors: Vectors) -> Any:
    batch, channels, height, width = (extent_of(iterator) for iterator in contraction.spatial)
    own = channels // groups
    contraction, group, channel = _grouped(contraction, groups, panel)
    tile_height, tile_width = pixel_tile(height, width, vectors.accumulators // -(-panel // vectors.lanes))
    pixels = [TileAxis(height, tile_height, "row"), TileAxis(width, tile_width, "row")]
    lanes = [TileAxis(groups), TileAxis(own, panel, "lane")]
    products = own * groups
    for iterator in contraction.reduced:
        products *= extent_of(iterator)
    n, c, y, x = (iterator.var for iterator in contraction.spatial)
    weights_stay = 4 * products <= _CACHE_NBYTES
    axes = [TileAxis(batch), *pixels, *lanes] if weights_stay else [TileAxis(batch), *lanes, *pixels]

    def placement(positions: Sequence[Any]) -> Placed:
        image, *rest = positions
        (row, column), (of_group, of_channel) = (rest[:2], rest[2:]) if weights_stay else (rest[2:], rest[:2])
        return {n: image, c: of_group * own + of_channel, y: row, x: column, group: of_group, channel: of_channel}

    return pad_in_rows(with_tiles(contraction, write_tiles(contraction, axes, placement, vectors.lanes)))


def _pointwise(contraction: Contraction, groups: int, vectors: Vectors) -> Any | None:
    batch, channels, height, width = (extent_of(iterator) for iterator in contraction.spatial)
    own = channels // groups
    contraction, group, channel = _grouped(contraction, groups, None)
    rows, lanes = tile_of(own, height * width, vectors)
    axes = [TileAxis(batch), TileAxis(groups), TileAxis(height * width, lanes, "lane"), TileAxis(own, rows, "row")]
    n, c, y, x = (iterator.var for iterator in contraction.spatial)

    def placement(positions: Sequence[Any]) -> Placed:
        image, of_group, pixel, of_channel = positions
        row, column = tirx.floordiv(pixel, width), tirx.floormod(pixel, width)
        return {n: image, c: of_group * own + of_channel, y: row, x: column, group: of_group, channel: of_channel}

    return _checked(contraction, axes, placement, vectors)


def _depthwise(contraction: Contraction, vectors: Vectors) -> Any | None:
    batch, channels, height, width = (extent_of(iterator) for iterator in contraction.spatial)
    wide = min(4, -(-width // vectors.lanes))
    high = min(height, max(1, min(4, vectors.accumulators // wide)))
    axes = [TileAxis(batch), TileAxis(channels), TileAxis(height, high, "row"), TileAxis(width, wide * vectors.lanes, "lane")]
    variables = [iterator.var for iterator in contraction.spatial]
    return _checked(contraction, axes, lambda positions: dict(zip(variables, positions, strict=True)), vectors, strided=True)


def _checked(contraction: Contraction, axes: Sequence[TileAxis], placement: Any, vectors: Vectors, *, strided: bool = False) -> Any | None:
    """Return the kernel in tiles, or None where vectors cannot run along the lanes."""
    if not is_constant(contraction, contraction.right, axes, placement) or not writes_along_lanes(contraction, axes, placement):
        return None
    if not strided and not is_contiguous(contraction, contraction.left, axes, placement, vectors.lanes):
        return None
    return pad_in_rows(with_tiles(contraction, write_tiles(contraction, axes, placement, vectors.lanes)))


def pixel_tile(height: int, width: int, most: int) -> tuple[int, int]:
    """Return the rows and columns of a tile of at most ``most`` pixels, so that tiles cover an image at the least cost."""
    best = min(
        ((_cost(height, width, most // columns, columns), most // columns, columns) for columns in range(1, min(width, most) + 1)),
        key=lambda found: (found[0], -found[2]),
    )
    return min(best[1], height), best[2]


def _cost(height: int, width: int, rows: int, columns: int) -> int:
    """Return the cost of an image in tiles: a tile costs its pixels and what every tile costs, and at least what latency takes."""
    total = 0
    for high in {min(rows, height): height // rows, height % rows: 1}.items():
        for wide in {min(columns, width): width // columns, width % columns: 1}.items():
            pixels = high[0] * wide[0]
            total += (max(pixels, 8) + 2) * high[1] * wide[1] if pixels else 0
    return total
