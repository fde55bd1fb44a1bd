from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from landbridge.frontends.onnx.graph import OnnxGraph, ValueType
from landbridge.frontends.onnx.prepare import prepare
from landbridge.runtime.errors import ModelError, UnsupportedError
from support.small_onnx import node, small_model


def prepared(proto: Any, shapes: Mapping[str, Sequence[int | str]] | None = None) -> OnnxGraph:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return prepare(copy, "m", shapes)


def adding(left: Sequence[Any], right: Sequence[Any], out: Sequence[Any] | None = None) -> Any:
    inputs = {"a": ("float32", left), "b": ("float32", right)}
    return small_model([node("Add", "a b", "y")], inputs, {"y": ("float32", out or left)})


def test_dimensions_are_shared_between_inputs_and_get_identifiers() -> None:
    graph = prepared(adding(["batch size", 3], ["batch size", 3]))
    assert graph.dims == ("batch_size",)
    assert graph.type_of("a").shape == graph.type_of("y").shape == ("batch_size", 3)


def test_different_names_stay_different() -> None:
    assert prepared(adding(["a-b", 1], ["a.b", 1])).dims == ("a_b", "a_b_1")


def test_dimensions_without_names_are_named_after_input_and_axis() -> None:
    assert prepared(adding([None, 3], [1, 3])).dims == ("a_0",)


def test_a_given_shape_fixes_the_dimension_everywhere() -> None:
    graph = prepared(adding(["n", 3], ["n", 3]), {"a": (4, 3)})
    assert graph.dims == ()
    assert graph.type_of("b").shape == graph.type_of("y").shape == (4, 3)


def test_a_given_shape_may_name_dimensions() -> None:
    graph = prepared(adding([None, None], ["n", None]), {"a": ("rows", 2), "b": ("rows", 2)})
    assert graph.dims == ("rows",)
    assert graph.type_of("y").shape == ("rows", 2)


def test_output_dimensions_that_no_input_has_are_unknown() -> None:
    graph = prepared(small_model([node("NonZero", "x", "y")], {"x": ("float32", (4,))}, {"y": ("int64", (1, "count"))}))
    assert graph.type_of("y") == ValueType("int64", (1, None))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"aa": (1,)}, "m: no input is called 'aa'\n  hint: did you mean 'a'?"),
        ({"zzz": (1,)}, "m: no input is called 'zzz'\n  hint: there are: a, b"),
        ({"a": (1,)}, "m: input 'a': the given shape has 1 extents, the model's 2"),
        ({"a": (1, 4)}, "m: input 'a': axis 1 is 3 in the model, the given shape says 4"),
        ({"a": (0, 3)}, "m: input 'a': extent 0 of axis 0 is neither a positive number nor a name"),
        ({"a": (2, 3), "b": (5, 3)}, "m: input 'b': dimension 'n' is given as 2 and as 5"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, Sequence[int | str]], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        prepared(adding(["n", 3], ["n", 3]), shapes)
    assert str(caught.value) == message


def test_constant_nodes_become_initialisers() -> None:
    constants = [
        helper.make_node("Constant", [], ["i"], value_ints=[1, 2]),
        helper.make_node("Constant", [], ["f"], value_float=2.5),
        helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(np.ones(2, np.float32), "inner")),
    ]
    nodes = [*constants, node("Cast", "i", "c", to=1), node("Add", "c f", "d"), node("Mul", "d t", "y")]
    graph = prepared(small_model(nodes, {"x": ("float32", (1,))}, {"y": ("float32", (2,))}))
    assert {name: numpy_helper.to_array(tensor).tolist() for name, tensor in graph.initializers.items()} == {
        "i": [1, 2],
        "f": 2.5,
        "t": [1.0, 1.0],
    }
    assert [found.type for found in graph.nodes] == ["Cast", "Add", "Mul"]


def test_sparse_weights_become_dense() -> None:
    proto = small_model([node("Add", "x w", "y")], {"x": ("float32", (4,))}, {"y": ("float32", (4,))}, {"w": np.zeros(4, np.float32)})
    del proto.graph.initializer[:]
    values = numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([1, 3], np.int64))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    assert numpy_helper.to_array(prepared(proto).initializers["w"]).tolist() == [0, 5, 0, 7]


def test_inputs_that_are_defaults_for_weights_are_no_inputs() -> None:
    proto = adding([2], [2])
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "b"))
    assert prepared(proto).inputs == ("a",)


def test_functions_are_inlined() -> None:
    body = [helper.make_node("Relu", ["v"], ["w"]), helper.make_node("Neg", ["w"], ["u"])]
    function = helper.make_function("com.acme", "Relu", ["v"], ["u"], body, [helper.make_opsetid("", 17)])
    call = helper.make_node("Relu", ["x"], ["y"], domain="com.acme")
    info = [helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "y")]
    graph = helper.make_graph([call], "g", info[:1], info[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)
    assert [found.type for found in prepared(proto).nodes] == ["Relu", "Neg"]


def test_a_sparse_tensor_at_the_border_is_refused() -> None:
    proto = small_model([node("Identity", "x", "y")], {"x": ("float32", (2,))}, {"y": ("float32", (2,))})
    proto.graph.output[0].type.CopyFrom(helper.make_sparse_tensor_type_proto(1, [2]))
    with pytest.raises(UnsupportedError, match="m: output 'y': a sparse tensor, or a value of a type that is not known"):
        prepared(proto)


def test_what_subgraphs_read_from_outside_is_found() -> None:
    branches = [
        helper.make_graph([helper.make_node(op, ["x", "w"], ["r"])], op, [], [helper.make_tensor_value_info("r", 1, [2])])
        for op in ("Add", "Div")
    ]
    choose = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = {"c": ("bool", ()), "x": ("float32", (2,))}
    graph = prepared(small_model([choose], inputs, {"y": ("float32", (2,))}, {"w": np.ones(2, np.float32)}))
    assert graph.nodes[0].captured == ("x", "w")
    assert graph.nodes[0].reads == ("c", "x", "w")


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_models_of_the_oldest_format_keep_the_types_of_their_weights(path: Path) -> None:
    """In the oldest format each weight is an input as well; without the inputs, inference must still know their types."""
    assert prepare(onnx.load(path), path.stem).nodes
