"""The few largest or smallest numbers of a row that lies along memory, found by a tournament of columns.

The row is seen as a grid as wide as some vectors. One sweep finds the best of each column and its place. The best of these is the best of
all; the place that it leaves is filled by the next best of its column, which alone is looked through again. On random rows a heap is
slower, because nobody can foretell its branches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.codegen.arg_extremes import fold_lanes
from landbridge.codegen.schedules.register_tiles import lane_pieces
from landbridge.frontends.onnx.operators.loops import variable, when

_LANES = 32
"""The least width of the grid: two vectors of the widest processors, which do not wait for each other."""

_LONG = 512
"""From so many on the grid is twice as wide: columns, which are looked through number by number, are half as long."""

_MOST = 8
"""How many are few."""


def is_few(count: Any, extent: Any, dtype: str) -> bool:
    """Return whether so many of so many are found faster like this than with a heap."""
    known = isinstance(count, int) and isinstance(extent, int) and 0 < count <= _MOST and 2 * _LANES <= extent < 1 << 31
    return known and dtype in ("float32", "float64")


class FewBest:
    """The search in a row of ``extent`` numbers, the first of which is at ``first`` of ``source``."""

    def __init__(self, source: Any, first: Any, extent: int, *, largest: bool) -> None:
        """Emit the sweep over the row."""
        self.source, self.first, self.extent, self.largest = source, first, extent, largest
        self._lanes = 2 * _LANES if extent >= _LONG else _LANES
        self._best = tirx.max if largest else tirx.min
        self._values, self._folded = (_buffer(self._lanes, str(source.dtype)) for _ in range(2))
        self._places, self._nearest, self._nan = (_buffer(self._lanes, "int32") for _ in range(3))
        with ib.vectorized(0, self._lanes) as lane:
            self._values[lane] = source[first + lane]
            self._places[lane] = tirx.Cast("int32", lane)
            self._nan[lane] = _flag(tirx.isnan(source[first + lane]))
        with ib.serial(0, extent // self._lanes - 1) as turn, ib.vectorized(0, self._lanes) as lane:
            self._challenge(lane, (turn + 1) * self._lanes + lane)
        whole = extent // self._lanes * self._lanes
        for start, count in lane_pieces(extent - whole, self._lanes):
            with ib.vectorized(0, count) as lane:
                self._challenge(start + lane, whole + start + lane)

    def _challenge(self, lane: Any, place: Any) -> None:
        value, held = self.source[self.first + place], self._values[lane]
        better = self._is_better(value, held)
        self._nan[lane] = self._nan[lane] | _flag(tirx.isnan(value))
        self._places[lane] = tirx.Select(better, tirx.Cast("int32", place), self._places[lane])
        self._values[lane] = tirx.Select(better, value, held)

    def _is_better(self, left: Any, right: Any) -> Any:
        return left > right if self.largest else left < right

    def is_sound(self) -> Any:
        """Emit the question whether all of the row are numbers; the search knows no place for others."""
        fold_lanes(self._nan, self._lanes, tirx.max)
        return self._nan[0] == 0

    def write(self, count: int, put: Callable[[Any, Any, Any], None]) -> None:
        """Emit the search for so many, in order, of equal ones the first first.

        Args:
            put: emits the store of one: its rank, its value, its place.
        """
        with ib.serial(0, count) as rank:
            with ib.vectorized(0, self._lanes) as lane:
                self._folded[lane] = self._values[lane]
            fold_lanes(self._folded, self._lanes, self._best)
            with ib.vectorized(0, self._lanes) as lane:
                beyond = tirx.const(self.extent, "int32")
                self._nearest[lane] = tirx.Select(self._values[lane] == self._folded[0], self._places[lane], beyond)
            fold_lanes(self._nearest, self._lanes, tirx.min)
            value, place = variable(str(self.source.dtype), self._folded[0]), variable("int32", self._nearest[0])
            put(rank, self.source[self.first + place[0]], place[0])
            when(rank < count - 1, partial(self._fill, place[0] % self._lanes, value[0], place[0]))

    def _fill(self, lane: Any, value: Any, place: Any) -> None:
        """Emit the search in a column for the best of those that come after one of it; it ends behind the row where there is none."""
        dtype, beyond = str(self.source.dtype), tirx.const(self.extent, "int32")
        worst = tirx.const(-np.inf if self.largest else np.inf, dtype)
        best, nearest = variable(dtype, worst), variable("int32", beyond)

        def after(number: Any, at: Any) -> Any:
            return self._is_better(value, number) | ((number == value) & (at > place))

        def column(step: Callable[[Any, Any], None]) -> None:
            with ib.serial(0, (self.extent - lane + self._lanes - 1) // self._lanes) as turn:
                step(self.source[self.first + turn * self._lanes + lane], turn * self._lanes + lane)

        def compare(number: Any, at: Any) -> None:
            best[0] = self._best(best[0], tirx.Select(after(number, at), number, worst))

        def find(number: Any, at: Any) -> None:
            nearest[0] = tirx.min(nearest[0], tirx.Select((number == best[0]) & after(number, at), at, beyond))

        column(compare)
        column(find)
        self._values[lane] = best[0]
        self._places[lane] = nearest[0]


def _buffer(size: int, dtype: str) -> Any:
    return ib.buffer_proxy(ib.alloc_buffer((size,), dtype))


def _flag(condition: Any) -> Any:
    return tirx.Select(condition, tirx.const(1, "int32"), tirx.const(0, "int32"))
