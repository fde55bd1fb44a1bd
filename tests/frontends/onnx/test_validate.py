"""What is wrong with a model is one message: the node, its operator, the operator set, and what to do."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import landbridge as lb
from landbridge.runtime.errors import LandbridgeError, ModelError, UnsupportedError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def broken(nodes: Any, inputs: Any, outputs: Any = (("y", FLOAT, [2]),), *, opset: int = 17, ir: int = 8, weights: Any = ()) -> Any:
    values = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
    graph = helper.make_graph(nodes, "broken", *values, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def node(operator: str, inputs: str, outputs: str, name: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)


X = [("x", FLOAT, [2])]
RELU = [node("Relu", "x", "y", "act")]
NEWEST = onnx.defs.onnx_opset_version()

CASES: dict[str, tuple[Any, type[LandbridgeError], str, str]] = {
    "cycle": (
        broken([node("Add", "x b", "a", "first"), node("Relu", "a", "b", "second")], X, [("b", FLOAT, [2])]),
        ModelError,
        "its nodes form a cycle: 'first' (Add) -> 'second' (Relu) -> 'first' (Add)",
        "a graph must have none",
    ),
    "order": (
        broken([node("Relu", "b", "y", "late"), node("Abs", "x", "b", "early")], X),
        ModelError,
        "node 'late' (Relu) reads 'b', which the later node 'early' (Abs) makes",
        "put the nodes in the order in which they run",
    ),
    "unknown value": (
        broken([node("Relu", "nope", "y", "act")], X),
        ModelError,
        "node 'act' (Relu) reads 'nope', which nothing makes",
        "export the model again",
    ),
    "made twice": (
        broken([*RELU, node("Abs", "x", "y", "other")], X),
        ModelError,
        "Graph must be in single static assignment (SSA) form, however 'y' has been used as output names multiple times.",
        "mend what onnx.checker.check_model says",
    ),
    "types": (
        broken([node("Add", "x z", "y", "sum")], [*X, ("z", INT64, [2])]),
        ModelError,
        "node 'sum' (Add, operator set 17): B has inconsistent type tensor(int64)",
        "mend this node",
    ),
    "a type that the operator lacks": (
        broken([node("Sqrt", "x", "y", "root")], [("x", INT64, [2])], [("y", INT64, [2])]),
        ModelError,
        "node 'root' (Sqrt, operator set 17): X typestr: T, has unsupported type: tensor(int64)",
        "mend this node",
    ),
    "declared type": (
        broken(RELU, X, [("y", INT64, [2])]),
        ModelError,
        "node 'act' (Relu, operator set 17): Inferred elem type differs from existing elem type: (1) vs (7)",
        "mend this node",
    ),
    "shapes": (
        broken([node("MatMul", "x z", "y", "product")], [("x", FLOAT, [2, 3]), ("z", FLOAT, [4, 5])], [("y", FLOAT, [2, 5])]),
        ModelError,
        "node 'product' (MatMul, operator set 17): Incompatible dimensions for matrix multiplication",
        "mend this node",
    ),
    "axis": (
        broken([node("Softmax", "x", "y", "soft", axis=5)], X),
        ModelError,
        "node 'soft' (Softmax, operator set 17): 'axis' must be in",
        "mend this node",
    ),
    "attribute": (
        broken([node("Relu", "x", "y", "act", alpha=1.0)], X),
        ModelError,
        "Unrecognized attribute: alpha for operator Relu At node 'act' (Relu, operator set 17)",
        "mend what onnx.checker.check_model says",
    ),
    "inputs": (
        broken([node("Relu", "x x", "y", "act")], X),
        ModelError,
        "has input size 2 not in range [min=1, max=1]. At node 'act' (Relu, operator set 17)",
        "mend what onnx.checker.check_model says",
    ),
    "no such operator": (
        broken([node("Frobnicate", "x", "y", "frob")], X),
        ModelError,
        "No Op registered for Frobnicate with domain_version of 17 At node 'frob' (Frobnicate, operator set 17)",
        "the operator does not exist, or not in this operator set",
    ),
    "operator taken out": (
        broken([node("Upsample", "x s", "y", "up")], [("x", FLOAT, [2]), ("s", FLOAT, [1])]),
        ModelError,
        "Op registered for Upsample is deprecated in domain_version of 17 At node 'up' (Upsample, operator set 17)",
        "convert the model to a newer operator set",
    ),
    "operator set": (
        broken(RELU, X, opset=NEWEST + 1),
        UnsupportedError,
        f"its operators are of operator set {NEWEST + 1}; onnx {onnx.__version__} knows up to {NEWEST}",
        f"export the model with opset_version={NEWEST}",
    ),
    "format": (
        broken(RELU, X, ir=onnx.IR_VERSION + 1),
        UnsupportedError,
        f"its format is version {onnx.IR_VERSION + 1}; onnx {onnx.__version__} knows up to {onnx.IR_VERSION}",
        "install a newer onnx",
    ),
    "weights": (
        broken([node("Add", "x w", "y", "sum")], X, weights=[TensorProto(name="w", data_type=FLOAT, dims=[2], float_data=[1.0])]),
        ModelError,
        "TensorProto (tensor name: w) float_data size (1) is too small for the declared shape",
        "export the model again",
    ),
    "an output that nothing makes": (
        broken(RELU, X, [("z", FLOAT, [2])]),
        ModelError,
        "Graph output 'z' is not an output of any node in graph.",
        "export the model again",
    ),
    "unknown domain": (
        other := helper.make_model(
            helper.make_graph(
                [helper.make_node("Frob", ["x"], ["y"], name="frob", domain="com.acme")],
                "other",
                [helper.make_tensor_value_info("x", FLOAT, [2])],
                [helper.make_tensor_value_info("y", FLOAT, [2])],
            ),
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 3)],
            ir_version=8,
        ),
        UnsupportedError,
        "frob (com.acme::Frob): neither ONNX nor ONNX Runtime defines it",
        "give an offline model for their part",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_message_with_the_node_and_what_to_do(name: str) -> None:
    model, kind, words, advice = CASES[name]
    with pytest.raises(kind) as caught:
        lb.from_onnx(model, name="bad.onnx")
    text = str(caught.value)
    assert text.startswith("bad.onnx: ")
    assert words in text
    assert advice in text.partition("hint: ")[2]


def test_a_declared_shape_that_is_another_than_the_inferred_one_is_no_fault() -> None:
    """ONNX Runtime runs such models."""
    assert lb.from_onnx(broken(RELU, X, [("y", FLOAT, ["other"])]))
