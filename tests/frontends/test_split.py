from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from landbridge.frontends.split import split
from landbridge.runtime.errors import ModelError, UnsupportedError
from support.run_onnx import reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(5)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def model() -> Any:
    nodes = [
        node("Relu", "x", "/a"),
        node("Conv", "/a w", "c", pads=[1, 1, 1, 1]),
        node("Add", "c bias", "feat"),
        node("GlobalAveragePool", "feat", "pool"),
        node("SplitToSequence", "pool", "seq"),
        node("SequenceAt", "seq zero", "y"),
    ]
    constants = {"w": floats(4, 3, 3, 3), "bias": floats(4, 1, 1), "zero": np.array(0)}
    return small_model(nodes, {"x": ("float32", ("n", 3, 8, 8))}, {"y": ("float32", (1, 4, 1, 1))}, constants)


def shapes(values: Any) -> dict[str, list[Any]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_part_is_a_valid_model_with_its_own_weights_and_types() -> None:
    part = split(model(), inputs=["/a"], outputs=["feat"])
    onnx.checker.check_model(part, full_check=True)
    assert shapes(part.graph.input) == {"/a": ["n", 3, 8, 8]}
    assert shapes(part.graph.output) == {"feat": ["n", 4, 8, 8]}
    assert [found.op_type for found in part.graph.node] == ["Conv", "Add"]
    assert [tensor.name for tensor in part.graph.initializer] == ["w", "bias"]


def test_the_part_computes_what_the_whole_does() -> None:
    whole = model()
    part = split(whole, inputs=["/a"], outputs=["feat"])
    for name in ("/a", "feat"):
        whole.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    values = reference(whole, {"x": floats(2, 3, 8, 8)})
    found = reference(part, {"/a": values["/a"]})
    np.testing.assert_array_equal(found["feat"], values["feat"])


def test_a_path_is_taken_and_order_is_kept(tmp_path: Path) -> None:
    nodes = [node("Add", "a b", "s"), node("Sub", "a b", "d")]
    proto = small_model(nodes, {"a": ("float32", (2,)), "b": ("float32", (2,))}, {"s": ("float32", (2,)), "d": ("float32", (2,))})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    part = split(path, inputs=["b", "a"], outputs=["d", "s"])
    assert list(shapes(part.graph.input)) == ["b", "a"]
    assert list(shapes(part.graph.output)) == ["d", "s"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["/aa"], ["feat"], "small: no value is called '/aa'\n  hint: did you mean '/a'?"),
        (["/a"], ["feet"], "small: no value is called 'feet'\n  hint: did you mean 'feat'?"),
        (["feat"], ["c"], "small: the outputs also depend on the model's input 'x'\n  hint: add 'x' to the inputs, or a value after it"),
        (["/a"], ["/a"], "small:/a: there is no operator between the inputs and this output"),
        (["/a", "x"], ["feat"], "small: no way leads from the input 'x' to the outputs\n  hint: leave it out"),
        ([], ["feat"], "small: no inputs given"),
        (["/a"], ["feat", "feat"], "small: a name stands twice among the outputs: feat, feat"),
    ],
)
def test_parts_that_are_none_are_refused(inputs: list[str], outputs: list[str], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        split(model(), inputs=inputs, outputs=outputs)
    assert str(caught.value) == message


def test_a_part_cannot_end_at_a_sequence() -> None:
    with pytest.raises(UnsupportedError) as caught:
        split(model(), inputs=["feat"], outputs=["seq"])
    assert str(caught.value) == "small:seq: it is no tensor; a part can only begin or end at one"


@pytest.mark.parametrize(("declared", "missing"), [(False, "type"), (True, "shape")])
def test_a_part_behind_an_operator_that_onnx_does_not_define_needs_a_declared_type(declared: bool, missing: str) -> None:
    nodes = [node("Relu", "x", "a"), node("Gelu", "a", "b", domain="com.microsoft"), node("Transpose", "b", "c"), node("Relu", "c", "y")]
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])],
        value_info=[onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)] if declared else [],
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    proto = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
    with pytest.raises(UnsupportedError) as caught:
        split(proto, inputs=["b"], outputs=["c"])
    assert str(caught.value) == (
        f"small:b: its {missing} is not known by inference; a part can only begin or end where both are\n"
        "  hint: name another value, or add its type to the model's value_info"
    )
    del graph.value_info[:]
    graph.value_info.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [2]))
    proto = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
    assert shapes(split(proto, inputs=["b"], outputs=["c"]).graph.output) == {"c": [2]}
