"""``Unique``: native, and as NumPy has it, whatever the data, the type, the axis and the order are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import landbridge as lb
from landbridge.frontends.onnx.prepare import prepare
from support.run_onnx import reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(5)

NUMBERS = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64")

PARTS = ("y", "indices", "inverse", "counts")


def _unique(source: str, parts: str, **attributes: Any) -> Any:
    """Return a node with some of its outputs, each called after its source."""
    found = node("Unique", source, f"{source}_y", **attributes)
    found.output[:] = [f"{source}_{part}" if part in parts.split() else "" for part in PARTS]
    while not found.output[-1]:
        del found.output[-1]
    return found


def _model(dtypes: Any, shape: Any, parts: str, **attributes: Any) -> Any:
    """Return a model of a node for each type."""
    rank = 1 if "axis" not in attributes else len(shape)
    late = {"y": (None,) * rank, "indices": (None,), "inverse": (None,), "counts": (None,)}
    outputs = {
        f"x_{dtype}_{part}": (dtype if part == "y" else "int64", late[part]) for dtype in dtypes for part in PARTS if part in parts.split()
    }
    nodes = [_unique(f"x_{dtype}", parts, **attributes) for dtype in dtypes]
    return small_model(nodes, {f"x_{dtype}": (dtype, shape) for dtype in dtypes}, outputs)


def _expected(array: Any, axis: int | None, in_order: int) -> dict[str, Any]:
    """Return the four outputs. NumPy has groups in order; here the first parts may put them in another one."""
    _, indices, inverse, counts = np.unique(array, True, True, True, axis=axis)
    order = np.arange(len(indices)) if in_order else np.argsort(indices)
    indices, counts = indices[order], counts[order]
    picked = np.take(array.reshape(-1) if axis is None else array, indices, axis=axis or 0)
    return dict(zip(PARTS, (picked, indices, np.argsort(order)[inverse.reshape(-1)], counts), strict=True))


def _assert_right(session: Any, feeds: dict[str, Any], parts: str, axis: int | None, in_order: int) -> None:
    found = session.run(feeds)
    for name, array in feeds.items():
        for part, expected in _expected(array, axis, in_order).items():
            if part in parts.split():
                assert found[f"{name}_{part}"].dtype == expected.dtype
                np.testing.assert_array_equal(found[f"{name}_{part}"], expected, err_msg=f"{name}_{part}")


def _numbers(dtype: str, shape: Any, spread: int) -> Any:
    """Return few different numbers, of both signs where there are some."""
    numbers = RNG.integers(0 if dtype in ("bool", "uint8") else -spread, spread + 1, shape)
    return numbers.astype(dtype) if dtype != "bool" else numbers > spread // 2


@pytest.mark.parametrize("in_order", [1, 0])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_of_every_type_and_size(axis: int | None, in_order: int) -> None:
    attributes = {"sorted": in_order} if axis is None else {"sorted": in_order, "axis": axis}
    compiled = lb.compile(lb.from_onnx(_model(NUMBERS, ("a", "b", 2), "y inverse", **attributes)), check="off")
    assert not compiled.report.fallbacks
    with compiled.load() as session:
        for shape in ((1, 1, 2), (2, 3, 2), (17, 1, 2), (3, 64, 2), (33, 21, 2)):
            for spread in (0, 1, 5, 100):
                feeds = {f"x_{dtype}": _numbers(dtype, shape, spread) for dtype in NUMBERS}
                _assert_right(session, feeds, "y inverse", axis, in_order)


@pytest.mark.parametrize("in_order", [1, 0])
@pytest.mark.parametrize("shape", [(), (40,), (5, 1), (4, 3, 2, 2)], ids=len)
def test_of_every_rank_and_known_extents(shape: tuple[int, ...], in_order: int) -> None:
    for axis in (None, *range(len(shape))):
        attributes = {"sorted": in_order} if axis is None else {"sorted": in_order, "axis": axis}
        compiled = lb.compile(lb.from_onnx(_model(["int32", "float32"], shape, "y", **attributes)), check="off")
        assert not compiled.report.fallbacks
        with compiled.load() as session:
            for spread in (0, 1, 9):
                feeds = {f"x_{dtype}": _numbers(dtype, shape, spread) for dtype in ("int32", "float32")}
                _assert_right(session, feeds, "y", axis, in_order)


@pytest.mark.parametrize("axis", [None, 0])
def test_numbers_that_are_none_and_zeros_of_both_signs(axis: int | None) -> None:
    """NaN is one element; but a part with NaN is like no other."""
    attributes = {} if axis is None else {"axis": axis}
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])
    for shape in ((None,), (None, 1), (None, 2)):
        extents = tuple("n" if extent is None else extent for extent in shape)
        with lb.compile(lb.from_onnx(_model(["float32", "float64"], extents, "y inverse", **attributes)), check="off").load() as session:
            for n in (1, 7, 60):
                array = RNG.choice(special, tuple(extent or n for extent in shape))
                feeds = {"x_float32": array.astype("float32"), "x_float64": array}
                _assert_right(session, feeds, "y inverse", axis, 1)


@pytest.mark.parametrize("in_order", [1, 0])
@pytest.mark.parametrize("axis", [None, 0])
def test_all_of_its_outputs(axis: int | None, in_order: int) -> None:
    attributes = {"sorted": in_order} if axis is None else {"sorted": in_order, "axis": axis}
    model = _model(["int64", "float32"], ("n", 2), " ".join(PARTS), **attributes)
    compiled = lb.compile(lb.from_onnx(model), check="off")
    assert not compiled.report.fallbacks
    with compiled.load() as session:
        for n in (1, 8, 50):
            feeds = {f"x_{dtype}": _numbers(dtype, (n, 2), 2) for dtype in ("int64", "float32")}
            _assert_right(session, feeds, " ".join(PARTS), axis, in_order)
            expected = reference(model, feeds)
            for name, array in session.run(feeds).items():
                np.testing.assert_array_equal(array, expected[name])


def test_many_equal_ones_and_many_in_order_take_no_longer_than_others() -> None:
    """A quadratic search would take minutes."""
    with lb.compile(lb.from_onnx(_model(["int64"], ("n",), "y inverse")), check="off").load() as session:
        for array in (np.zeros(300_000, "int64"), np.arange(300_000), np.arange(300_000)[::-1].copy()):
            _assert_right(session, {"x_int64": array}, "y inverse", None, 1)


def test_outputs_that_nobody_reads_are_left_out() -> None:
    """Exporters write all of them."""
    nodes = [node("Unique", "x", "y places inverse counts"), node("Neg", "inverse", "z")]
    model = small_model(nodes, {"x": ("float32", ("n",))}, {"y": ("float32", (None,)), "z": ("int64", ("n",))})
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    assert prepare(copy, "m").nodes[0].outputs == ("y", "", "inverse")
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    x = np.array([2, 1, 2, 5], "float32")
    found = compiled.load().run({"x": x})
    np.testing.assert_array_equal(found["y"], [1, 2, 5])
    np.testing.assert_array_equal(found["z"], [-1, 0, -1, -2])
