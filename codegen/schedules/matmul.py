"""Matrix products of every shape, as register tiles.

A tile is some rows of one factor by some vectors along an axis on which the other factor is contiguous. Rows whose number only
the run tells, batches, products with a vector and element-wise steps after the product are all the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tvm
from tvm import tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import Contraction, extent_of, read_contraction, with_tiles
from landbridge.codegen.schedules.dots import float16_dots_of
from landbridge.codegen.schedules.register_tiles import (
    FLOATS,
    Arithmetic,
    Placed,
    TileAxis,
    is_constant,
    is_contiguous,
    write_tiles,
    writes_along_lanes,
)
from landbridge.codegen.schedules.vectors import Vectors, vectors_of

PANEL = "landbridge.panel"
"""Annotation of a product's block: how many columns its packed weights have in a panel."""

_PART = 768
"""Of a long sum added up at a time: a panel of so many rows, and as many columns of a thousand rows, fit into second-level cache."""

_FEW_TILES = 2
"""So few tiles of rows read a panel once or twice: there is nothing to keep."""

_WIDEST = 8
"""Vectors in a tile of one row: enough sums at a time to hide the latency of an addition."""


class Matmul(Rule):
    """Products summed over one axis."""

    name = "matmul"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel in tiles, or None where it is no such product or no axis suits vectors."""
        contraction = read_contraction(kernel)
        if contraction is None or len(contraction.reduced) != 1:
            return None
        vectors = vectors_of(target)
        for lane in reversed(range(len(contraction.spatial))):
            axes = _axes(contraction, lane, vectors)
            if axes is not None:
                order, placement = axes
                part = _part(contraction, lane, order)
                halves = float16_dots_of(target)
                arithmetic, narrow = FLOATS, None if halves is None else _before_casts(contraction)
                if halves is not None and narrow is not None:
                    contraction, arithmetic = narrow, Arithmetic(halves.sums, halves.add, "right")
                tiles = write_tiles(contraction, order, placement, vectors.lanes, part, arithmetic=arithmetic)
                return with_tiles(contraction, tiles, uses_product=part is not None)
        return None


def _before_casts(contraction: Contraction) -> Contraction | None:
    """Return a product with a packed weight whose factors are casts of float16 as one of what is cast, or None where it is another."""
    factors = contraction.left, contraction.right
    halves = [factor.value for factor in factors if isinstance(factor, tirx.Cast) and str(factor.value.ty.dtype) == "float16"]
    are_loads = len(halves) == 2 and all(isinstance(half, tvm.ir.TensorLoad) for half in halves)
    return replace(contraction, left=halves[0], right=halves[1]) if are_loads and PANEL in contraction.annotations else None


def _part(contraction: Contraction, lane: int, axes: Sequence[TileAxis]) -> int | None:
    """Return how much of a sum is added up for all tiles at a time, or None for all of it: where it is short or the tiles are few."""
    extent = extent_of(contraction.reduced[0])
    many = all(not isinstance(axis.extent, int) or axis.extent > _FEW_TILES * axis.tile for axis in axes if axis.role == "row")
    has_rows = any(axis.role == "row" for axis in axes)
    is_long = isinstance(extent, int) and extent >= 2 * _PART
    return _PART if is_long and many and has_rows and lane == len(contraction.spatial) - 1 else None


def _axes(contraction: Contraction, lane: int, vectors: Vectors) -> tuple[list[TileAxis], Any] | None:
    """Return the tile axes for vectors along one spatial iterator and where they are, or None where vectors cannot run there."""
    extents = [extent_of(iterator) for iterator in contraction.spatial]
    wide = contraction.factors_of(lane)
    if wide not in ("left", "right") or extents[lane] == 1:
        return None
    other = "right" if wide == "left" else "left"
    rows = [i for i, extent in enumerate(extents) if extent != 1 and contraction.factors_of(i) == other]
    row = rows[-1] if rows else None
    tile_rows, tile_lanes = tile_of(1 if row is None else extents[row], extents[lane], vectors)
    if int(contraction.annotations.get(PANEL, tile_lanes)) != tile_lanes:
        return None
    outer = [i for i in range(len(extents)) if i not in (lane, row)]
    order = [*outer, lane, *([] if row is None else [row])]
    axes = [TileAxis(extents[i], *((tile_lanes, "lane") if i == lane else (tile_rows, "row") if i == row else (1, "outer"))) for i in order]

    def placement(positions: Sequence[Any]) -> Placed:
        return {contraction.spatial[i].var: position for i, position in zip(order, positions, strict=True)}

    factors = {"left": contraction.left, "right": contraction.right}
    suits = is_contiguous(contraction, factors[wide], axes, placement, vectors.lanes) and is_constant(
        contraction, factors[other], axes, placement
    )
    return (axes, placement) if suits and writes_along_lanes(contraction, axes, placement) else None


def tile_of(rows: Any, columns: Any, vectors: Vectors) -> tuple[int, int]:
    """Return how many rows and columns a tile has: as square as registers allow, with little left over.

    Args:
        rows: an int, or an expression where only the run tells.
        columns: the same.
    """
    wide = 4 if vectors.registers >= 32 else 2
    if isinstance(columns, int):
        wide = min(wide, -(-columns // vectors.lanes))
    high = vectors.accumulators // wide if isinstance(columns, int) and wide < 3 else 6
    if isinstance(rows, int):
        high = -(-rows // -(-rows // high))
        if high <= 3 and isinstance(columns, int):
            wide = max(1, min(_WIDEST, -(-columns // vectors.lanes), vectors.accumulators // high))
    return high, wide * vectors.lanes
