"""Parts, repetitions, borders and sizes that are extents of inputs: one artifact, right at every size, and refused where sizes disagree."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.frontends.onnx.extents import at_least, at_most, is_negative, simplified
from landbridge.runtime.errors import DeviceError, InputError
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(3)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "table": floats(9, 4),
    "zero": ints(0),
    "one": ints(1),
    "two": ints(2),
    "three": ints(3),
    "minus_one": ints(-1),
    "minus_two": ints(-2),
    "minus_three": ints(-3),
    "all": ints(2**63 - 1),
    "least": ints(-(2**63) + 1),
    "half": np.float32(0.5),
}


def program(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, str]) -> tuple[Any, lb.Program]:
    """Return a model and its program, all of it native."""
    used = {name for one in nodes for name in one.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in used}
    model = small_model(nodes, inputs, {name: (dtype, None) for name, dtype in outputs.items()}, constants, opset=19)
    found = lb.from_onnx(model)
    assert not found.fallbacks
    return model, found


def test_parts_of_open_axes() -> None:
    nodes = [
        node("Slice", "x zero minus_one one", "but_last"),
        node("Slice", "x minus_three all one", "last_three"),
        node("Slice", "x zero three one", "first_three"),
        node("Slice", "x zero all one two", "every_other"),
        node("Slice", "x all least one minus_one", "turned"),
        node("Slice", "x minus_two least one minus_two", "back"),
        node("Shape", "x", "m", start=1, end=2),
        node("Div", "m two", "middle"),
        node("Slice", "x middle m one", "second_half"),
        node("Slice", "x zero middle one", "first_half"),
        node("Slice", "table zero middle zero", "rows"),
        node("Neg", "middle", "below"),
        node("Add", "below minus_one", "from_end"),
        node("Slice", "x from_end all one", "end"),
    ]
    named = ("but_last", "last_three", "first_three", "every_other", "turned", "back", "second_half", "first_half", "rows", "end")
    model, found = program(nodes, {"x": ("float32", ("n", "m", 2))}, dict.fromkeys(named, "float32"))
    with lb.compile(found).load() as session:
        for n, m in ((1, 7), (3, 4), (2, 3), (1, 2), (2, 24)):
            feeds = {"x": floats(n, m, 2)}
            assert_same(session.run(feeds), reference(model, feeds))
        with pytest.raises(InputError, match="dimension 'm' is 0 on axis 1, expected at least 1"):
            session.run({"x": floats(2, 0, 2)})


def test_sizes_worked_out_as_a_convolution_has_them() -> None:
    """Exporters divide what may be negative, where the convolution before would have no result."""
    nodes = [
        node("Shape", "x", "samples", start=2),
        node("Sub", "samples ten", "less"),
        node("Div", "less five", "steps"),
        node("Add", "steps one", "count"),
        node("Conv", "x kernel", "frames", strides=[5]),
        node("Concat", "minus_one count two two", "shape", axis=0),
        node("Reshape", "frames shape", "y", allowzero=1),
    ]
    constants = {name: CONSTANTS[name] for name in ("one", "two", "minus_one")}
    constants |= {"kernel": floats(4, 1, 10), "ten": ints(10), "five": ints(5)}
    model = small_model(nodes, {"x": ("float32", ("n", 1, "m"))}, {"y": ("float32", ("n", "frames", 2, 2))}, constants, opset=19)
    found = lb.from_onnx(model)
    assert not found.fallbacks
    with lb.compile(found).load() as session:
        for n, m in ((1, 10), (3, 27)):
            feeds = {"x": floats(n, 1, m)}
            assert_same(session.run(feeds), reference(model, feeds))
        with pytest.raises(InputError, match="dimension 'm' is 9 on axis 2, expected at least 10"):
            session.run({"x": floats(1, 1, 9)})


def positions() -> tuple[Any, lb.Program]:
    """Return a network that adds a table, cut to the length of the input, and masks by a square of it."""
    nodes = [
        node("Shape", "x", "length", start=1, end=2),
        node("Slice", "table zero length zero", "places"),
        node("Add", "x places", "placed"),
        node("MatMul", "table turned_table", "square"),
        node("Concat", "length length", "both", axis=0),
        node("Slice", "square zeros both", "corner"),
        node("Transpose", "placed", "keys", perm=[0, 2, 1]),
        node("MatMul", "placed keys", "scores"),
        node("Add", "scores corner", "masked"),
        node("MatMul", "masked placed", "y"),
    ]
    constants = {name: CONSTANTS[name] for name in ("table", "zero")}
    constants |= {"zeros": ints(0, 0), "turned_table": CONSTANTS["table"].T.copy()}
    model = small_model(nodes, {"x": ("float32", ("batch", "length", 4))}, {"y": ("float32", ("batch", "length", 4))}, constants, opset=19)
    found = lb.from_onnx(model)
    assert not found.fallbacks
    return model, found


def test_a_table_is_cut_to_the_length_of_an_input() -> None:
    model, found = positions()
    with lb.compile(found).load() as session:
        for batch, length in ((1, 9), (2, 1), (3, 5)):
            feeds = {"x": floats(batch, length, 4)}
            assert_same(session.run(feeds), reference(model, feeds))
        with pytest.raises(DeviceError, match=re.escape("'places' [min(length, 9), 4] does not go together with 'x' [batch, length, 4]")):
            session.run({"x": floats(1, 10, 4)})


def test_two_inputs_of_one_extent_or_of_one_element() -> None:
    nodes = [node("Add", "a b", "sum"), node("Greater", "a b", "more"), node("Where", "more a b", "y")]
    inputs = {"a": ("float32", ("n", 3)), "b": ("float32", ("m", 3))}
    model, found = program(nodes, inputs, {"sum": "float32", "y": "float32"})
    with lb.compile(found).load() as session:
        for n, m in ((4, 4), (1, 5), (5, 1), (1, 1)):
            feeds = {"a": floats(n, 3), "b": floats(m, 3)}
            assert_same(session.run(feeds), reference(model, feeds))
        with pytest.raises(DeviceError, match=re.escape("'b' [m, 3] does not go together with 'a' [n, 3]")):
            session.run({"a": floats(4, 3), "b": floats(2, 3)})


def test_repetitions_borders_and_sizes_that_are_extents() -> None:
    nodes = [
        node("Shape", "x", "n", start=0, end=1),
        node("Concat", "n one", "repeats", axis=0),
        node("Tile", "table repeats", "tiled"),
        node("Concat", "zero n one zero", "borders", axis=0),
        *(node("Pad", f"x borders {filling}", f"pad_{mode}", mode=mode) for mode, filling in (("constant", "half"), ("edge", "_"))),
        node("Unsqueeze", "x zero", "deeper"),
        node("Unsqueeze", "deeper zero", "image"),
        node("MaxPool", "image", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "image", "size"),
        node("Resize", "pooled _ _ size", "nearest", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
        node("Resize", "pooled _ _ size", "linear", mode="linear"),
        node("Concat", "image nearest linear", "joined", axis=1),
    ]
    outputs = dict.fromkeys(("tiled", "pad_constant", "pad_edge", "joined"), "float32")
    model, found = program(nodes, {"x": ("float32", ("n", "m"))}, outputs)
    with lb.compile(found).load() as session:
        for n, m in ((2, 4), (7, 5), (12, 9)):
            feeds = {"x": floats(n, m)}
            assert_same(session.run(feeds), reference(model, feeds))


def test_what_is_known_of_extents() -> None:
    from tvm import tirx

    n = tirx.Var("n", "int64")
    assert simplified(n - n + 3) == 3
    assert at_most(n, 2**40) is n
    assert at_least(n, 1) is n
    assert str(at_most(n, 9)) == str(tirx.min(n, 9))
    assert [is_negative(extent) for extent in (n - 1, -n, n - 2, 0, -4)] == [False, True, None, False, True]
