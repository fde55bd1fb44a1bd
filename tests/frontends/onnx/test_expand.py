from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import landbridge as lb
from landbridge.frontends.onnx.prepare import prepare
from support.run_onnx import Feeds, assert_same, reference, run_program
from support.small_onnx import node, small_model

_random = np.random.default_rng(0)


def test_an_operator_of_types_that_native_code_has_becomes_its_function() -> None:
    model = small_model(
        [node("RMSNormalization", "x scale", "y", axis=0)],
        {"x": ("float32", ["n", 4]), "scale": ("float32", ["n", 4])},
        {"y": ("float32", ["n", 4])},
        opset=23,
    )
    program = lb.from_onnx(model)
    feeds = {"x": _random.standard_normal((3, 4)).astype(np.float32), "scale": np.ones((3, 4), np.float32)}
    assert not program.fallbacks
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_constants_are_known_to_the_function() -> None:
    model = small_model([node("CastLike", "one x", "y")], {"x": ("float16", [2])}, {"y": ("float16", [2])}, {"one": np.ones(2, np.float32)})
    assert [n.op_type for n in prepare(model, "m").model.graph.node] == ["Cast"]


def test_attributes_that_are_left_out_have_their_defaults() -> None:
    model = small_model([node("HannWindow", "size", "y")], {}, {"y": ("float32", [8])}, {"size": np.array(8, np.int64)})
    program = lb.from_onnx(model)
    assert not program.fallbacks
    assert_same(run_program(program, {}), reference(model, {}))


def test_types_that_native_code_lacks_leave_it_to_the_fallback() -> None:
    model = small_model(
        [node("CastLike", "x like", "y")], {"x": ("float32", [2]), "like": ("string", [1])}, {"y": ("string", [2])}, opset=19
    )
    assert [n.op_type for n in prepare(model, "m").model.graph.node] == ["CastLike"]


def test_an_operator_that_stays_beside_one_that_is_replaced_is_as_it_was() -> None:
    model = small_model(
        [node("CastLike", "x like", "y"), node("CastLike", "x same", "z")],
        {"x": ("float32", [2]), "like": ("string", [1]), "same": ("float16", [1])},
        {"y": ("string", [2]), "z": ("float16", [2])},
        opset=19,
    )
    graph = prepare(model, "m")
    assert [(found.proto.op_type, found.proto.domain) for found in graph.nodes] == [("CastLike", ""), ("Cast", "")]
    assert [entry.domain for entry in graph.model.opset_import] == [""]


def test_an_input_left_out_between_others_is_none_for_the_function() -> None:
    shape = [1, 2, 3, 4]
    names = ("q", "k", "v", "pk", "pv")
    made = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "ok", "ov"], name="attention")
    graph = helper.make_graph(
        [made],
        "m",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    program = lb.from_onnx(model)
    assert not program.fallbacks
    feeds = {name: _random.standard_normal(shape).astype(np.float32) for name in names}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_a_function_with_a_loop_inside_is_native_where_its_steps_are_known() -> None:
    shape = {"q": [2, 3, 8], "k": [2, 3, 8], "v": [2, 3, 8]}
    made = helper.make_node(
        "LinearAttention", list(shape), ["y", "state"], name="attention", q_num_heads=2, kv_num_heads=2, update_rule="linear"
    )
    graph = helper.make_graph(
        [made],
        "m",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, extents) for name, extents in shape.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)], ir_version=13)
    program = lb.from_onnx(model)
    assert not program.fallbacks
    feeds = {name: _random.standard_normal(extents).astype(np.float32) for name, extents in shape.items()}
    expected = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_allclose(run_program(program, feeds)["y"], expected[0], rtol=1e-4, atol=1e-5)


def test_operators_inside_of_a_loop_that_stays_are_as_they_were() -> None:
    scalar: list[int] = []
    body = helper.make_graph(
        [node("Identity", "c", "c_out"), node("CastLike", "i x", "s")],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, scalar), helper.make_tensor_value_info("c", TensorProto.BOOL, scalar)],
        [helper.make_tensor_value_info("c_out", TensorProto.BOOL, scalar), helper.make_tensor_value_info("s", TensorProto.FLOAT, scalar)],
    )
    graph = helper.make_graph(
        [node("CastLike", "d x", "x2"), helper.make_node("Loop", ["n", "go"], ["y"], name="loop", body=body)],
        "m",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("d", TensorProto.DOUBLE, [2]),
            helper.make_tensor_value_info("n", TensorProto.INT64, scalar),
        ],
        [helper.make_tensor_value_info("x2", TensorProto.FLOAT, [2]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(np.array(True), "go")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    cast, loop = prepare(model, "m").model.graph.node
    assert (cast.op_type, [n.op_type for n in loop.attribute[0].g.node]) == ("Cast", ["Identity", "CastLike"])
    program = lb.from_onnx(model)
    feeds: Feeds = {"x": np.zeros(2, np.float32), "d": np.ones(2, np.float64), "n": np.array(3, np.int64)}
    np.testing.assert_array_equal(run_program(program, feeds)["y"], [0, 1, 2])
