from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper

from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.body import Body, is_constant, is_extern
from landbridge.ir.printer import print_module
from landbridge.ir.program import MODEL, NAMES, OUTPUTS, Program, attribute, user_name
from landbridge.ir.sizes import render_type
from landbridge.ir.verify import verify
from landbridge.runtime.errors import UnsupportedError
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import never_native, node, small_model

RNG = np.random.default_rng(7)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def operators(program: Program) -> list[str]:
    """Return the operators in order; offline models by their symbols."""
    values = [binding.value for binding in Body.of(program.module).bindings]
    calls = [value for value in values if hasattr(value, "op")]
    return [str(call.args[0].global_symbol) if is_extern(call) else call.op.name.removeprefix("relax.") for call in calls]


def types(program: Program) -> dict[str, str]:
    body = Body.of(program.module)
    return {
        user_name(program.module, var): render_type(var.ty)
        for var in (*body.params, *(b.var for b in body.bindings))
        if hasattr(var.ty, "dtype")
    }


def check(model: Any, feeds: Mapping[str, Any]) -> Program:
    """Return the program of a model, after running it against ONNX Runtime."""
    program = from_onnx(model)
    assert_same(run_program(program, feeds), reference(model, feeds))
    return program


def other_domain(proto: Any, domain: str) -> Any:
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    return proto


# names


def test_values_keep_the_users_names() -> None:
    nodes = [node("Relu", "in:0", "/layer1/act"), node("Neg", "/layer1/act", "a__b"), node("Abs", "a__b", "1")]
    program = from_onnx(small_model(nodes, {"in:0": ("float32", (2,))}, {"1": ("float32", (2,))}))
    body = Body.of(program.module)
    variables = [*body.params, *(binding.var for binding in body.bindings)]
    assert [str(var.name) for var in variables] == ["in_0", "layer1_act", "a_b", "v_1"]
    assert [user_name(program.module, var) for var in variables] == ["in:0", "/layer1/act", "a__b", "1"]
    assert attribute(program.module, NAMES, {}) == {"in_0": "in:0", "layer1_act": "/layer1/act", "a_b": "a__b", "v_1": "1"}
    assert attribute(program.module, OUTPUTS, []) == [["1", ""]]
    assert attribute(program.module, MODEL, "") == "small"


def test_steps_inside_an_operator_lead_to_the_value_it_makes() -> None:
    program = from_onnx(small_model([node("HardSwish", "x", "y")], {"x": ("float32", (2,))}, {"y": ("float32", (2,))}))
    body = Body.of(program.module)
    assert len(body.bindings) > 1
    assert {user_name(program.module, binding.var) for binding in body.bindings} == {"y"}
    assert str(body.bindings[-1].var.name) == "y"


def test_names_of_dimensions_and_values_do_not_clash() -> None:
    program = from_onnx(small_model([node("Relu", "n", "y")], {"n": ("float32", ("n", 2))}, {"y": ("float32", ("n", 2))}))
    assert [str(param.name) for param in Body.of(program.module).params] == ["n_1"]
    assert types(program) == {"n": "float32 [n, 2]", "y": "float32 [n, 2]"}


def test_the_program_is_legal_before_placement_and_reads_back() -> None:
    program = from_onnx(small_model([node("Relu", "x", "y")], {"x": ("float32", ("n", 2))}, {"y": ("float32", ("n", 2))}))
    verify(program, phase="imported")
    assert not program.externs
    assert not program.fallbacks


# interface


def test_odd_outputs() -> None:
    """A weight, an input, the same value twice, a value under two names, and an input that nothing uses."""
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "same"), node("Identity", "x", "copy")]
    outputs = {"w": ("int64", (2,)), "copy": ("float32", (3,)), "y": ("float32", (3,)), "same": ("float32", (3,))}
    inputs = {"x": ("float32", (3,)), "unused": ("float32", (1,))}
    model = small_model(nodes, inputs, outputs, {"w": np.array([2**40, -5])})
    model.graph.output.append(model.graph.output[2])
    onnx.checker.check_model(model)
    program = from_onnx(model)
    body = Body.of(program.module)
    assert [str(param.name) for param in body.params] == ["x", "unused"]
    assert is_constant(body.outputs[0])
    assert body.outputs[1].same_as(body.params[0])
    assert body.outputs[2].same_as(body.outputs[3])
    assert [name for name, _ in attribute(program.module, OUTPUTS, [])] == ["w", "copy", "y", "same", "y"]
    assert operators(program) == ["nn.relu"]


def test_weights_keep_their_64_bits() -> None:
    model = small_model([node("Add", "x w", "y")], {"x": ("int64", (1,))}, {"y": ("int64", (1,))}, {"w": np.array([2**40])})
    check(model, {"x": np.array([3])})


def test_operators_that_no_output_needs_are_left_out() -> None:
    nodes = [node("Relu", "x", "y"), node("NonZero", "x", "unused")]
    program = from_onnx(small_model(nodes, {"x": ("float32", (2,))}, {"y": ("float32", (2,))}))
    assert operators(program) == ["nn.relu"]


# operators


def test_a_small_network_computes_what_onnx_runtime_does() -> None:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "c scale bias mean var", "n"),
        node("Clip", "n lo hi", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f fc fb", "g", transB=1),
        node("Softmax", "g", "y", axis=-1),
    ]
    constants = {
        "w": floats(4, 3, 3, 3),
        "b": floats(4),
        "scale": floats(4),
        "bias": floats(4),
        "mean": floats(4),
        "var": np.abs(floats(4)),
    }
    constants |= {"lo": np.array(0, np.float32), "hi": np.array(6, np.float32), "fc": floats(5, 4), "fb": floats(5)}
    model = small_model(nodes, {"x": ("float32", ("n", 3, 9, 8))}, {"y": ("float32", ("n", 5))}, constants)
    program = check(model, {"x": floats(2, 3, 9, 8)})
    assert not program.fallbacks
    assert types(program)["c"] == "float32 [n, 4, 5, 4]"


def test_operators_with_several_outputs_and_inputs_left_out() -> None:
    nodes = [node("Split", "x", "a b c", axis=1), node("Clip", "a _ hi", "d"), node("Sum", "b c d", "y")]
    model = small_model(
        nodes, {"x": ("float32", (2, 6))}, {"y": ("float32", (2, 2)), "b": ("float32", (2, 2))}, {"hi": np.array(0.1, np.float32)}
    )
    program = check(model, {"x": floats(2, 6)})
    assert {"a", "b", "c", "d", "y"} <= set(types(program))
    assert not program.fallbacks


def test_negative_and_computed_indices_are_native() -> None:
    nodes = [node("Gather", "x i", "g"), node("Gather", "g last", "y", axis=1)]
    model = small_model(nodes, {"x": ("float32", ("n", 4)), "i": ("int64", (3,))}, {"y": ("float32", (3,))}, {"last": np.array(-1)})
    program = check(model, {"x": floats(5, 4), "i": np.array([0, -1, 2])})
    assert not program.fallbacks


def test_operators_on_weights_only_are_worked_out() -> None:
    nodes = [node("Transpose", "w", "t", perm=[1, 0]), node("Cast", "t", "f", to=1), node("MatMul", "x f", "y")]
    model = small_model(nodes, {"x": ("float32", (2, 3))}, {"y": ("float32", (2, 4))}, {"w": np.arange(12, dtype=np.int8).reshape(4, 3)})
    assert operators(check(model, {"x": floats(2, 3)})) == ["matmul"]


def test_operators_on_weights_of_bfloat16_are_worked_out() -> None:
    nodes = [
        node("Cast", "lowest", "value", to=onnx.TensorProto.BFLOAT16),
        node("Cast", "x", "narrow", to=onnx.TensorProto.BFLOAT16),
        node("Pad", "narrow pads value", "padded"),  # whose value must be known
        node("Cast", "padded", "y", to=onnx.TensorProto.FLOAT),
    ]
    constants: dict[str, Any] = {"lowest": np.float32(-1.01), "pads": np.array([0, 1, 0, 0], np.int64)}
    program = from_onnx(small_model(nodes, {"x": ("float32", (1, 2))}, {"y": ("float32", (1, 3))}, constants, opset=21))
    assert not program.fallbacks
    found = run_program(program, {"x": np.array([[1, 2]], np.float32)})["y"]
    np.testing.assert_array_equal(found, np.array([[-1.01, 1, 2]], ml_dtypes.bfloat16).astype(np.float32))


# shapes


def test_shape_arithmetic_leaves_no_trace() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    model = small_model(nodes, {"x": ("float32", ("n", 3, "h"))}, {"y": ("float32", (None, None))}, constants)
    program = check(model, {"x": floats(2, 3, 5)})
    assert operators(program) == ["reshape"]
    assert types(program)["y"].replace("(", "").replace(")", "") == "float32 [n, h*3]"


def test_a_symbolic_shape_used_as_a_tensor_becomes_one() -> None:
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Mul", "f half", "y")]
    outputs = {"y": ("float32", (2,)), "s": ("int64", (2,))}
    program = check(small_model(nodes, {"x": ("float32", ("n", 3))}, outputs, {"half": np.array(0.5, np.float32)}), {"x": floats(4, 3)})
    assert not program.fallbacks


def test_a_static_shape_is_a_constant() -> None:
    nodes = [node("Shape", "x", "s"), node("ConstantOfShape", "s", "z"), node("Add", "x z", "y")]
    program = from_onnx(small_model(nodes, {"x": ("float32", (2, 3))}, {"y": ("float32", (2, 3)), "s": ("int64", (2,))}))
    assert is_constant(Body.of(program.module).outputs[1])
    assert operators(program) == ["add"]


def test_a_range_over_a_dimension_is_native() -> None:
    nodes = [
        node("Shape", "x", "s", end=1),
        node("Squeeze", "s", "n"),
        node("Range", "zero n one", "r"),
        node("Cast", "r", "f", to=1),
        node("Add", "x f", "y"),
    ]
    constants = {"zero": np.array(0), "one": np.array(1)}
    program = check(small_model(nodes, {"x": ("float32", ("n",))}, {"y": ("float32", ("n",))}, constants), {"x": floats(5)})
    assert not program.fallbacks
    assert types(program)["y"] == "float32 [n]"


def test_shapes_given_by_the_caller_replace_symbolic_ones() -> None:
    model = small_model([node("Relu", "x", "y")], {"x": ("float32", ("n", 3))}, {"y": ("float32", ("n", 3))})
    assert types(from_onnx(model, shapes={"x": (4, 3)})) == {"x": "float32 [4, 3]", "y": "float32 [4, 3]"}


# domains and refusals


def test_an_operator_of_another_domain_is_not_taken_for_onnxs_own() -> None:
    proto = small_model([node("Relu", "x", "y")], {"x": ("float32", (2,))}, {"y": ("float32", (2,))})
    proto.graph.node[0].domain = "com.acme"
    with pytest.raises(UnsupportedError) as caught:
        from_onnx(other_domain(proto, "com.acme"))
    assert str(caught.value) == (
        "small: 1 operator cannot run:\n"
        "  relu_y (com.acme::Relu): neither ONNX nor ONNX Runtime defines it: "
        "Fatal error: com.acme:Relu(-1) is not a registered function/op\n"
        "  hint: take them out of the model, or give an offline model for their part"
    )


def test_every_operator_that_cannot_run_is_named_at_once() -> None:
    nodes = [node("Relu", "x", "a"), node("Neg", "a", "b"), node("Abs", "b", "y"), node("Abs", "x", "z")]
    proto = small_model(nodes, {"x": ("float32", (2,))}, {"y": ("float32", (2,)), "z": ("float32", (2,))})
    for index in (0, 2, 3):
        proto.graph.node[index].domain = "com.acme"
    with pytest.raises(UnsupportedError) as caught:
        from_onnx(other_domain(proto, "com.acme"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "small: 3 operators cannot run:"
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["relu_a (com.acme", "abs_y (com.acme", "abs_z (com.acme"]


def test_without_fallback_every_operator_that_is_not_native_is_named_with_its_reason() -> None:
    nodes = [never_native("x", "v"), node("Cast", "v", "r", to=7), node("ConstantOfShape", "r", "y")]
    model = small_model(nodes, {"x": ("float32", (2,))}, {"y": ("float32", (None, None))})
    with pytest.raises(UnsupportedError) as caught:
        from_onnx(model, fallback=False)
    assert str(caught.value) == (
        "small: 2 operators cannot be native:\n"
        "  quickgelu_v (com.microsoft::QuickGelu): an operator of the domain com.microsoft\n"
        "  constantofshape_y (ConstantOfShape): its output's shape is known only when it runs\n"
        "  hint: allow the fallback to ONNX Runtime"
    )


def test_the_importer_neither_prints_nor_warns(capfd: Any, recwarn: Any) -> None:
    nodes = [node("Relu", "x.1", "r"), node("NonZero", "r", "y")]
    from_onnx(small_model(nodes, {"x.1": ("float32", (None, 2))}, {"y": ("int64", (2, None))}))
    assert capfd.readouterr().out == ""
    assert not recwarn.list


def test_the_same_model_gives_the_same_program() -> None:
    nodes = [node("Clip", "x _ hi", "c"), never_native("c", "v"), node("Neg", "v", "y")]
    constants = {"hi": np.array(1, np.float32)}
    model = small_model(nodes, {"x": ("float32", ("n", 4))}, {"y": ("float32", ("n", 4))}, constants)
    first, second = from_onnx(model), from_onnx(model)
    assert print_module(first.module) == print_module(second.module)
    assert {symbol: extern.data for symbol, extern in first.externs.items()} == {s: e.data for s, e in second.externs.items()}
