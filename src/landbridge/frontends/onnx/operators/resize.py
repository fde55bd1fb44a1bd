"""``Resize`` and ``Upsample`` in every mode: one axis after the other, each a small sum over neighbours.

For each axis tables say, for each place of the result, which elements it comes from and with which weights; a kernel adds them up. The
tables are constants where everything about the axis is known; else a kernel of their own makes them, so scales and regions may be tensors.
TVM's own kernels take over for ``nearest`` where the importer may be asked.

Source: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.extents import is_equal
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, as_int, constant, extents_of
from landbridge.frontends.onnx.operators.loops import check, loops, variable
from landbridge.frontends.onnx.operators.shaping import confirmed

_WORD = "float64"
"""The type of coordinates: which element is the nearest must not be a matter of rounding."""


@dataclass(frozen=True)
class _Axis:
    """What happens to one axis.

    Attributes:
        axis: its number.
        before: its extent.
        after: its new extent.
        scale: a tensor of one float32, or None where it is the ratio of the extents.
        factor: the scale, where it is known.
        region: a tensor of the two float32 of the part that is cut out, or None.
    """

    axis: int
    before: Any
    after: Any
    scale: Any
    factor: float | None
    region: Any


@dataclass(frozen=True)
class _Mode:
    """The attributes.

    Attributes:
        kernel: "nearest", "linear" or "cubic".
        coordinates: how places of the result stand for places of the input.
        nearest: which neighbour is the nearest.
        cubic: the coefficient of the cubic kernel.
        outside: neighbours outside of the input count nothing.
        filling: what stands where a region reaches beyond the input.
        antialias: the kernel is as wide as the scale makes it.
    """

    kernel: str
    coordinates: str
    nearest: str
    cubic: float
    outside: bool
    filling: float
    antialias: bool


def _real(value: float) -> Any:
    return tirx.const(value, _WORD)


@dataclass(frozen=True)
class _Words:
    """How formulas are written: of a kernel, or of arrays that are known.

    Attributes:
        select: the second where the first holds, else the third.
        largest: the larger of two.
    """

    select: Callable[[Any, Any, Any], Any]
    largest: Callable[[Any, Any], Any]


_KERNEL = _Words(
    lambda condition, yes, no: tirx.Select(condition, _expression(yes), _expression(no)), lambda a, b: tirx.max(a, _expression(b))
)
_NUMPY = _Words(np.where, np.maximum)


def _expression(value: Any) -> Any:
    return _real(value) if isinstance(value, float) else value


def _resize(call: Call) -> Any:
    if call.text("mode", "nearest") != "nearest" and not call.dtype(0).startswith("float"):
        raise Declined("between whole numbers, ONNX Runtime rounds in a way of its own")
    if not call.refused and call.text("mode", "nearest") == "nearest" and not _is_open(call):
        return NotImplemented
    old = call.opset < 11 or call.node.proto.op_type == "Upsample"
    mode = _Mode(
        call.text("mode", "nearest"),
        call.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"),
        call.text("nearest_mode", "floor" if old else "round_prefer_floor"),
        call.real("cubic_coeff_a", -0.75),
        bool(call.number("exclude_outside", 0)),
        call.real("extrapolation_value", 0.0),
        bool(call.number("antialias", 0)),
    )
    data, dtype = call.tensor(0), call.dtype(0)
    word = "float64" if dtype == "float64" else "float32"
    data, axes = _axes(call, data, old=old, cropped=mode.coordinates == "tf_crop_and_resize")
    if dtype != word and mode.kernel != "nearest":
        data = call.emit(relax.op.astype(data, word))
    for axis in axes:
        data = _along(call, data, axis, mode)
    return data if str(data.ty.dtype) == dtype else relax.op.astype(data, dtype)


def _is_open(call: Call) -> bool:
    """Return whether the sizes before or after are extents, which TVM's importer takes for numbers."""
    sizes = call.integers(3) if call.has(3) else None
    return sizes is not None and not all(isinstance(extent, int) for extent in (*sizes, *call.shape(0)))


def _axes(call: Call, data: Any, *, old: bool, cropped: bool) -> tuple[Any, list[_Axis]]:
    """Return the data, checked against what the model declares, and the axes that change."""
    before = call.shape(0)
    rank = len(before)
    named = [axis % rank for axis in call.numbers("axes") or range(rank)]
    index = (1 if call.opset >= 9 or call.node.proto.op_type != "Upsample" else -1) if old else 2
    regions = _regions(call, named, rank) if cropped else [None] * rank
    if not old and call.has(3) and call.integers(3) != []:
        data, after, factors = _sizes(call, data, named)
        ratio = (
            _kept_ratio(call, named) if call.integers(3) is None and call.text("keep_aspect_ratio_policy", "stretch") != "stretch" else None
        )
        changed = [a for a in range(rank) if after[a] is not before[a] or regions[a] is not None]
        return data, [_Axis(a, before[a], after[a], ratio, factors[a], regions[a]) for a in changed]
    known = call.reals("scales") if index < 0 else None
    array = call.constant(index) if index >= 0 else None
    known = [float(factor) for factor in array] if array is not None else known
    found = []
    for place, axis in enumerate(named):
        factor = None if known is None else known[place]
        if factor == 1 and regions[axis] is None:
            continue
        after = call.declared()[axis] if factor is None else _scaled(before[axis], factor)
        scale = constant([factor], "float32") if factor is not None else _one(call, index, place)
        found.append(_Axis(axis, before[axis], after, scale, factor, regions[axis]))
    return data, found


def _scaled(extent: Any, factor: float) -> Any:
    if isinstance(extent, int):
        return math.floor(extent * float(np.float32(factor)))
    if not factor.is_integer():
        raise Declined("a size that is a fraction of one that is not known")
    return extent * int(factor)


def _one(call: Call, index: int, place: int) -> Any:
    """Return one element of an input, as a tensor of one."""
    return call.emit(relax.op.strided_slice(call.tensor(index), [0], [place], [place + 1]))


def _sizes(call: Call, data: Any, named: list[int]) -> tuple[Any, list[Any], list[float | None]]:
    """Return the data, the new extents, and the scale of each axis where it is known."""
    before, sizes = call.shape(0), call.integers(3)
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    factors: list[float | None] = [None] * len(before)
    after = list(before)
    if sizes is None and policy != "stretch":
        after = call.declared()
    elif sizes is None:
        after = call.declared()
        data = confirmed(call, data, 3, [after[axis] for axis in named], "the sizes")
    elif policy == "stretch":
        for axis, size in zip(named, sizes, strict=True):
            after[axis] = size
    else:
        if not all(isinstance(extent, int) for extent in (*sizes, *(before[axis] for axis in named))):
            raise Declined("sizes that keep the ratio of sides that are not known")
        ratios = [size / before[axis] for axis, size in zip(named, sizes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        for axis in named:
            factors[axis], after[axis] = ratio, int(ratio * before[axis] + 0.5)
    after = [before[axis] if is_equal(as_int(after[axis]), as_int(before[axis])) else after[axis] for axis in range(len(before))]
    return data, after, factors


def _kept_ratio(call: Call, named: list[int]) -> Any:
    """Return the one scale of all axes, as a tensor, where sizes that are tensors are to keep the ratio of the sides."""
    before = [call.shape(0)[axis] for axis in named]
    if not all(isinstance(extent, int) for extent in before):
        raise Declined("sizes that keep the ratio of sides that are not known")
    ratios = call.emit(relax.op.divide(call.emit(relax.op.astype(call.tensor(3), _WORD)), constant(before, _WORD)))
    least = call.text("keep_aspect_ratio_policy", "stretch") == "not_larger"
    return call.emit((relax.op.min if least else relax.op.max)(ratios, keepdims=True))


def _regions(call: Call, named: list[int], rank: int) -> list[Any]:
    found: list[Any] = [None] * rank
    for place, axis in enumerate(named):
        ends = [_one(call, 1, place + side * len(named)) for side in (0, 1)]
        found[axis] = call.emit(relax.op.astype(call.emit(relax.op.concat(ends, axis=0)), "float32"))
    return found


# ---- kernels -----------------------------------------------------------------------------------------------------------------


def _along(call: Call, data: Any, axis: _Axis, mode: _Mode) -> Any:
    """Return the data with one axis resized."""
    count = _neighbours(axis, mode)
    parts = _known_tables(axis, mode, count) or _tables(call, axis, mode, count)
    shape = [*extents_of(data)[: axis.axis], axis.after, *extents_of(data)[axis.axis + 1 :]]

    def kernel(data: Any, places: Any, weights: Any, inside: Any, shape: list[Any]) -> Any:
        word = str(data.dtype)

        def element(*position: Any) -> Any:
            j = position[axis.axis]

            def neighbour(k: int) -> Any:
                return data(*(places[j, k] if a == axis.axis else index for a, index in enumerate(position)))

            if mode.kernel == "nearest":
                total = neighbour(0)
            else:
                total = neighbour(0) * weights[j, 0].astype(word)
                for k in range(1, count):
                    total = total + neighbour(k) * weights[j, k].astype(word)
            return total if axis.region is None else tirx.Select(inside[j], total, tirx.const(mode.filling, word))

        return te.compute(shape, element, name="resized")

    return call.compute(kernel, data, *parts, relax.ShapeExpr(shape), name="resize", fuses=True)


def _tables(call: Call, axis: _Axis, mode: _Mode, count: int) -> list[Any]:
    """Return the tables of an axis from a kernel that works them out when it runs."""
    scale = axis.scale
    if scale is None and axis.factor is not None:
        scale = constant([axis.factor], _WORD)
    given = ([] if scale is None else [scale]) + ([] if axis.region is None else [axis.region])

    def tables(sizes: Any, *others: Any) -> Any:
        before, after = sizes

        def body(*buffers: Any) -> None:
            by = buffers[0] if scale is not None else None
            region = buffers[int(scale is not None)] if axis.region is not None else None
            _fill(buffers[len(others) :], (before, after), by, region, mode, count)

        return loops("weights", list(others), [([after, count], "int64"), ([after, count], "float32"), ([after], "bool")], body)

    made = call.compute(tables, relax.ShapeExpr([axis.before, axis.after]), *given, name="resize_weights")
    return [call.emit(relax.TupleGetItem(made, index)) for index in range(3)]


def _known_tables(axis: _Axis, mode: _Mode, count: int) -> list[Any] | None:
    """Return the tables of an axis as constants, or None where not everything about it is known."""
    if axis.region is not None or not (isinstance(axis.before, int) and isinstance(axis.after, int)):
        return None
    if axis.scale is not None and axis.factor is None:
        return None
    wide, whole = np.float64(axis.before), np.float64(axis.after)
    factor = np.float64(np.float32(axis.factor)) if axis.scale is not None else axis.factor  # a given scale is a float32
    by = whole / wide if factor is None else np.float64(factor)
    j = np.arange(axis.after, dtype=_WORD)
    x = np.broadcast_to(_origin(j, (wide, whole), by, None, mode, _NUMPY), j.shape)
    floor = np.floor(x).astype("int64")
    if mode.kernel == "nearest":
        places, weights = _nearest(x, floor, mode.nearest, _NUMPY)[:, None], np.ones((axis.after, 1))
    else:
        places = floor[:, None] - (count // 2 - 1) + np.arange(count)
        smooth = np.minimum(by, 1.0) if mode.antialias else 1.0
        weights = _weight(np.abs(places - x[:, None]) * smooth, mode, _NUMPY)
        if mode.outside:
            weights = np.where((places >= 0) & (places < axis.before), weights, 0.0)
        if mode.outside or mode.antialias:
            total = weights.sum(-1, keepdims=True)
            weights = weights / np.where(total == 0, 1.0, total)
    inside = (x >= 0) & (x <= wide - 1)
    return [constant(np.clip(places, 0, axis.before - 1), "int64"), constant(weights, "float32"), constant(inside, "bool")]


def _neighbours(axis: _Axis, mode: _Mode) -> int:
    """Return from how many elements each of the result comes at most."""
    if mode.kernel == "nearest":
        return 1
    reach = {"linear": 1, "cubic": 2}.get(mode.kernel)
    if reach is None:
        raise Declined(f"its mode '{mode.kernel}'")
    if not mode.antialias:
        return 2 * reach
    if axis.factor is None and not (isinstance(axis.before, int) and isinstance(axis.after, int) and axis.after):
        raise Declined("a smooth kernel for a scale that is not known")
    least = axis.factor if axis.factor is not None else axis.after / axis.before
    return 2 * math.ceil(reach / min(least, 1.0))


def _fill(results: Any, sizes: tuple[Any, Any], scale: Any, region: Any, mode: _Mode, count: int) -> None:
    """Emit the tables of an axis: which elements, with which weights, and whether the place is inside of the input."""
    places, weights, inside = results
    before, after = (tirx.Cast("int64", size) if not isinstance(size, int) else tirx.const(size, "int64") for size in sizes)
    wide, whole = before.astype(_WORD), after.astype(_WORD)
    by = scale[0].astype(_WORD) if scale is not None else whole / wide
    check(tirx.any(before > 0, after == 0), "an axis without elements cannot become longer")
    if scale is not None:
        exact = by * wide if str(scale.dtype) == "float32" else by * wide + 0.5  # a ratio that is kept rounds
        check(tirx.floor(exact).astype("int64") == after, "the scale does not give the size that the model declares")
    smooth = tirx.min(by, _real(1)) if mode.antialias else _real(1)
    with ib.serial(0, after) as j:
        x = variable(_WORD, _origin(j.astype(_WORD), (wide, whole), by, region, mode, _KERNEL))
        inside[j] = tirx.all(x[0] >= 0.0, x[0] <= wide - 1.0)
        floor = variable("int64", tirx.floor(x[0]).astype("int64"))
        if mode.kernel == "nearest":
            places[j, 0] = tirx.max(tirx.min(_nearest(x[0], floor[0], mode.nearest, _KERNEL), before - 1), tirx.const(0, "int64"))
            weights[j, 0] = tirx.const(1, "float32")
        else:
            total = variable(_WORD, _real(0))
            with ib.serial(0, count) as k:
                place = floor[0] - (count // 2 - 1) + k.astype("int64")
                value = _weight(tirx.abs(place.astype(_WORD) - x[0]) * smooth, mode, _KERNEL)
                if mode.outside:
                    value = tirx.Select(tirx.all(place >= 0, place < before), value, _real(0))
                weights[j, k] = value.astype("float32")
                places[j, k] = tirx.max(tirx.min(place, before - 1), tirx.const(0, "int64"))
                total[0] = total[0] + value
            if mode.outside or mode.antialias:
                with ib.serial(0, count) as k:
                    weights[j, k] = (weights[j, k].astype(_WORD) / tirx.Select(total[0] == 0.0, _real(1), total[0])).astype("float32")


def _origin(place: Any, sizes: tuple[Any, Any], by: Any, region: Any, mode: _Mode, words: _Words) -> Any:
    """Return where a place of the result stands in the input."""
    before, after = sizes
    length = by * before
    span = words.select(length == 1.0, 1.0, length - 1.0)
    centre = (place + 0.5) / by - 0.5
    if mode.coordinates == "asymmetric":
        return place / by
    if mode.coordinates == "align_corners":
        return words.select(length == 1.0, 0.0, place * (before - 1.0) / span)
    if mode.coordinates == "pytorch_half_pixel":
        return words.select(length == 1.0, -0.5, centre)
    if mode.coordinates == "half_pixel_symmetric":
        return before / 2.0 * (1.0 - after / length) + centre
    if mode.coordinates == "tf_crop_and_resize":
        start, end = (region[side].astype(_WORD) for side in (0, 1))
        width = (end - start) * (before - 1.0)
        return words.select(length == 1.0, width / 2.0, place * width / span) + start * (before - 1.0)
    if mode.coordinates == "half_pixel":
        return centre
    raise Declined(f"its coordinates '{mode.coordinates}'")


def _nearest(x: Any, floor: Any, mode: str, words: _Words) -> Any:
    part = x - floor.astype(_WORD)
    up = {
        "floor": part < 0.0,  # never
        "ceil": part > 0.0,
        "round_prefer_floor": part > 0.5,
        "round_prefer_ceil": part >= 0.5,
    }.get(mode)
    if up is None:
        raise Declined(f"its nearest_mode '{mode}'")
    return words.select(up, floor + 1, floor)


def _weight(distance: Any, mode: _Mode, words: _Words) -> Any:
    """Return the weight of a neighbour at a distance."""
    if mode.kernel == "linear":
        return words.largest(1.0 - distance, 0.0)
    a, x = mode.cubic, distance
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    return words.select(x <= 1.0, near, words.select(x < 2.0, far, 0.0))


OPERATORS: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
