from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax, tirx

from landbridge.codegen.graph import Graph, read_graph
from landbridge.ir.program import ExternModel, Program
from landbridge.runtime.errors import PassError, UnsupportedError
from landbridge.runtime.plan import LATE
from support.placed_programs import build_main, call_model, placed, signature


def _graph(make: Any, shape: Any = (2, 3), **options: Any) -> Graph:
    return read_graph(placed(build_main({"x": (shape, "float32")}, make), **options))


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        (("n", 3), relax.op.flatten),
        ((2, 3), lambda x: relax.op.reshape(x, (3, 2))),
        ((2, 3), lambda x: relax.op.expand_dims(x, 1)),
        ((2, 1), relax.op.squeeze),
        (("n", 1, 3), lambda x: relax.op.permute_dims(x, [1, 0, 2])),
    ],
)
def test_what_keeps_the_bytes_is_a_view(shape: Any, view: Any) -> None:
    graph = _graph(lambda emit, x: [emit(view(x))], shape)
    assert [node.kind for node in graph.nodes] == ["view"]


@pytest.mark.parametrize(
    ("shape", "operator"),
    [
        ((2, 3), lambda x: relax.op.permute_dims(x, [1, 0])),
        ((2, 3), relax.op.permute_dims),
        (("n", 3), relax.op.permute_dims),
        ((2, 3), lambda x: relax.op.astype(x, "float16")),
        ((2, 3), lambda x: relax.op.broadcast_to(x, (4, 2, 3))),
    ],
)
def test_what_moves_bytes_is_no_view(shape: Any, operator: Any) -> None:
    graph = _graph(lambda emit, x: [emit(operator(x))], shape)
    assert [node.kind for node in graph.nodes] == ["host"]


def test_a_view_of_the_same_shape_is_the_value_itself() -> None:
    graph = _graph(lambda emit, x: [emit(relax.op.astype(emit(relax.op.reshape(x, (2, 3))), "float32"))])
    assert graph.nodes == ()
    assert graph.outputs[0][1] == graph.inputs[0][1]


def test_a_view_of_a_constant_is_a_constant() -> None:
    array = np.arange(6, dtype="float32")
    graph = _graph(lambda emit, x: [emit(relax.op.reshape(relax.const(array), (2, 3)))])
    (_, index) = graph.outputs[0]
    np.testing.assert_array_equal(graph.values[index].constant, array.reshape(2, 3))


def test_parts_of_a_tuple_have_the_users_names() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        parts = emit(relax.op.split(x, 3, axis=1), "parts")
        return [emit(relax.TupleGetItem(parts, 2), "last")]

    graph = _graph(make, names={"last": "/split/output.2", "parts": "/split"})
    (node,) = graph.nodes
    assert [graph.values[index].name for index in node.outputs] == ["/split.0", "/split.1", "/split/output.2"]


def test_a_shape_that_only_the_data_tells_is_late() -> None:
    model = ExternModel("onnxruntime", b"blob", signature([(2, 3)], [("k", 2)]))

    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(call_model("nonzero", [x], relax.TensorType([tirx.Var("k", "int64"), 2], "int64")))]

    graph = _graph(make, externs={"nonzero": (model, "cpu")})
    assert graph.values[graph.outputs[0][1]].shape == (LATE, 2)
    assert graph.dims == ()


def test_an_input_whose_extent_is_an_expression_is_refused() -> None:
    double = tirx.Var("n", "int64") * 2
    x = relax.Var("x", relax.TensorType([double], "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple([x]))
        builder.emit_func_output(result)
    with pytest.raises(UnsupportedError, match=r"input 'x': extent n\*2, expected a number or a name"):
        read_graph(placed(builder.get()))


def test_a_program_without_devices_is_a_bug() -> None:
    module = build_main({"x": ((2,), "float32")}, lambda emit, x: [emit(relax.op.exp(x))])
    with pytest.raises(PassError, match="x: the value has no device"):
        read_graph(Program(module))
