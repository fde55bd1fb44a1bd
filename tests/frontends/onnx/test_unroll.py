"""Control flow whose way is known becomes native, with the results of ONNX Runtime; what is not known stays a fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import landbridge as lb
from landbridge.frontends.onnx import unroll
from landbridge.frontends.onnx.prepare import prepare
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import DTYPES, Value, node, small_model

_random = np.random.default_rng(0)


def body(nodes: Sequence[Any], inputs: Mapping[str, Value], outputs: Mapping[str, Value], **constants: Any) -> Any:
    ports = [
        [helper.make_tensor_value_info(name, DTYPES[dtype], shape) for name, (dtype, shape) in side.items()] for side in (inputs, outputs)
    ]
    return helper.make_graph(nodes, "body", *ports, [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()])


def operators(model: Any) -> list[str]:
    return [found.op_type for found in prepare(model, "m").model.graph.node]


def assert_native(model: Any, *, shapes: Mapping[str, Sequence[int]] | None = None) -> lb.Program:
    program = lb.from_onnx(model)
    assert not program.fallbacks, program.fallbacks
    given = {value.name: [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    feeds = {name: _random.standard_normal(shape).astype(np.float32) for name, shape in {**given, **(shapes or {})}.items()}
    assert_same(run_program(program, feeds), reference(model, feeds))
    return program


def branches(condition: str, *, before: Sequence[Any] = (), constants: Mapping[str, Any] | None = None) -> Any:
    """Return a model whose ``If`` has a branch that negates and one that adds; they have the same names inside."""
    port: Mapping[str, Value] = {"r": ("float32", ["n", 2])}
    chosen = helper.make_node(
        "If",
        [condition],
        ["y"],
        name="which",
        then_branch=body([node("Neg", "x", "a"), node("Add", "a one", "r")], {}, port, one=np.float32(1)),
        else_branch=body([node("Add", "x one", "a"), node("Abs", "a", "r")], {}, port, one=np.float32(2)),
    )
    return small_model(
        [*before, chosen, node("Relu", "y", "z")], {"x": ("float32", ["n", 2])}, {"z": ("float32", ["n", 2])}, constants, opset=18
    )


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_of_a_known_condition_is_native(condition: bool) -> None:
    model = branches("c", constants={"c": np.array(condition)})
    assert operators(model) == [*(["Neg", "Add"] if condition else ["Add", "Abs"]), "Identity", "Relu"]
    assert_native(model)


SIZES = {
    "a part of the shape": [node("Shape", "x", "s", start=1), node("Squeeze", "s", "s0")],
    "an extent": [node("Shape", "x", "s"), node("Gather", "s last", "s0")],
    "a size": [node("Shape", "x", "s"), node("Size", "s", "s0")],
}


@pytest.mark.parametrize("size", SIZES)
def test_a_condition_that_follows_from_a_shape_is_known(size: str) -> None:
    before = [*SIZES[size], node("Greater", "s0 least", "c")]
    constants = {"least": np.array(1, np.int64), "last": np.array(-1, np.int64)}
    model = branches("c", before=before, constants=constants)
    assert "If" not in operators(model)
    assert_native(model)


def choice(
    then: Sequence[Any], other: Sequence[Any], *, shape: Sequence[Any] = ("n", 2), condition: Sequence[int] = (), **constants: Any
) -> Any:
    """Return a model whose ``If`` depends on an input."""
    port: Mapping[str, Value] = {"r": ("float32", list(shape))}
    chosen = helper.make_node("If", ["c"], ["y"], name="which", then_branch=body(then, {}, port), else_branch=body(other, {}, port))
    inputs: Mapping[str, Value] = {"c": ("bool", list(condition)), "x": ("float32", list(shape))}
    return small_model([chosen], inputs, {"y": ("float32", list(shape))}, constants, opset=18)


@pytest.mark.parametrize("shape", [["n", 2], []], ids=str)
@pytest.mark.parametrize("condition", [[], [1]], ids=str)
def test_short_branches_are_both_computed(shape: list[Any], condition: list[int]) -> None:
    logarithm, other = [node("Log", "x", "a"), node("Neg", "a", "r")], [node("Abs", "x", "a"), node("Exp", "a", "r")]
    model = choice(logarithm, other, shape=shape, condition=condition)
    program = lb.from_onnx(model)
    assert not program.fallbacks, program.fallbacks
    for way in (True, False):
        x = np.array(_random.standard_normal([3, 2] if shape else []), np.float32)  # of half of it there is no logarithm
        feeds = {"c": np.full(condition, way), "x": x}
        assert_same(run_program(program, feeds), reference(model, feeds))


def test_a_condition_on_a_named_dimension_chooses() -> None:
    before = [node("Shape", "x", "s", end=1), node("Squeeze", "s", "s0"), node("Greater", "s0 least", "c")]
    model = branches("c", before=before, constants={"least": np.array(1, np.int64)})
    for rows in (1, 2):
        assert_native(model, shapes={"x": [rows, 2]})


def test_a_condition_chooses_between_constants() -> None:
    sides = [[helper.make_node("Constant", [], ["r"], value=numpy_helper.from_array(np.full((3, 2), side, np.float32)))] for side in (1, 2)]
    model = choice(*sides, shape=(3, 2))
    assert operators(model).count("Where") == 1
    program = lb.from_onnx(model)
    assert not program.fallbacks
    for way in (True, False):
        feeds = {"c": np.array(way), "x": np.zeros((3, 2), np.float32)}
        assert_same(run_program(program, feeds), reference(model, feeds))


GATHER = [helper.make_node("Constant", [], ["i"], value=numpy_helper.from_array(np.array([9]))), node("Gather", "x i", "r")]
"""May fail, where the branch is not taken."""

LONG = [node("Neg", "x", "a0"), *(node("Abs", f"a{i}", f"a{i + 1}") for i in range(64)), node("Neg", "a64", "r")]


@pytest.mark.parametrize("then", [GATHER, LONG], ids=["an index", "many operators"])
def test_a_branch_that_may_fail_or_is_long_stays(then: Sequence[Any]) -> None:
    model = choice(then, [node("Abs", "x", "r")])
    assert "If" in operators(model)
    program = lb.from_onnx(model)
    assert [entry.reason for entry in program.fallbacks.values()] == ["control flow"]
    feeds = {"c": np.array(False), "x": _random.standard_normal((3, 2)).astype(np.float32)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_dimensions_that_need_not_go_together_stay() -> None:
    """``x + w`` needs as many rows as ``w`` has, or one: where it is not taken, any number is right."""
    model = choice([node("Add", "x w", "r")], [node("Abs", "x", "r")], w=np.ones((3, 2), np.float32))
    assert "If" in operators(model)
    program = lb.from_onnx(model)
    for rows in (3, 4):
        feeds = {"c": np.array(False), "x": _random.standard_normal((rows, 2)).astype(np.float32)}
        assert_same(run_program(program, feeds), reference(model, feeds))


def test_branches_of_different_shapes_stay() -> None:
    model = choice([node("Abs", "x", "r")], [node("Neg", "x", "r")])
    model.graph.node[0].attribute[0].g.output[0].type.tensor_type.shape.dim[0].dim_param = "m"
    assert "If" in operators(model)


def loop(count: int | None, condition: Any, step: Sequence[Any], *, goes_on: str = "go", dims: Sequence[Any] = (3,)) -> Any:
    """Return a model of a loop over ``total``, whose body reads ``x`` from outside and keeps ``kept`` of each step."""
    made = body(
        step,
        {"i": ("int64", []), "go": ("bool", []), "total": ("float32", dims)},
        {goes_on: ("bool", []), "more": ("float32", dims), "kept": ("float32", dims)},
        half=np.float32(0.5),
        limit=np.array(4, np.int64),
    )
    constants = {"m": np.array(count or 0, np.int64), "c": np.array(bool(condition))}
    made_by = ["m" if count is not None else "", "c" if condition is not None else "", "x"]
    return small_model(
        [helper.make_node("Loop", made_by, ["y", "all"], name="around", body=made)],
        {"x": ("float32", dims)},
        {"y": ("float32", dims), "all": ("float32", [None, *dims])},
        constants,
        opset=18,
    )


STEP = (
    node("Cast", "i", "f", to=TensorProto.FLOAT),
    node("Mul", "total half", "h"),
    node("Add", "h f", "hf"),
    node("Add", "hf x", "more"),
    node("Sub", "more x", "kept"),
)
UNTIL = (*STEP, node("Less", "i limit", "on"))


@pytest.mark.parametrize(
    ("count", "condition", "goes_on", "steps"),
    [(4, True, "go", 4), (3, None, "go", 3), (None, True, "on", 5), (3, True, "on", 3), (9, True, "on", 5), (1, None, "on", 1)],
)
def test_a_loop_of_known_steps_is_native(count: int | None, condition: Any, goes_on: str, steps: int) -> None:
    model = loop(count, condition, UNTIL if goes_on == "on" else STEP, goes_on=goes_on)
    assert operators(model).count("Mul") == steps
    assert_native(model)


def test_a_loop_over_a_named_dimension_is_native() -> None:
    assert_native(loop(3, True, STEP, dims=("n",)))


def test_a_loop_that_the_data_ends_stays() -> None:
    step = (*STEP, node("ReduceSum", "total", "s", keepdims=0), node("Less", "s half", "on"))
    assert operators(loop(9, True, step, goes_on="on")) == ["Loop"]


def test_a_loop_of_too_many_steps_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unroll, "MOST_NODES", 5 * 4)
    assert "Loop" not in operators(loop(3, True, STEP))
    assert operators(loop(5, True, STEP)) == ["Loop"]
    assert operators(loop(10**12, True, STEP)) == ["Loop"]


def test_a_loop_inside_a_loop_is_native() -> None:
    inner = body(
        [node("Identity", "go2", "on2"), node("Mul", "t2 half2", "h2"), node("Add", "h2 total", "m2")],
        {"j": ("int64", []), "go2": ("bool", []), "t2": ("float32", [3])},
        {"on2": ("bool", []), "m2": ("float32", [3])},
        half2=np.float32(0.5),
    )
    step = [
        helper.make_node("Loop", ["m", "", "total"], ["more"], name="inside", body=inner),
        node("Neg", "more", "kept"),
    ]
    model = loop(3, True, step)
    assert operators(model).count("Mul") == 9
    assert_native(model)


def scan(axes: Sequence[int], directions: Sequence[int], out_axis: int, out_direction: int) -> Any:
    made = body(
        [node("Add", "state a", "next"), node("Mul", "next b", "each")],
        {"state": ("float32", [2]), "a": ("float32", [2]), "b": ("float32", [2])},
        {"next": ("float32", [2]), "each": ("float32", [2])},
    )
    shapes = [[4, 2] if axis in (0, -2) else [2, 4] for axis in axes]
    found = helper.make_node(
        "Scan",
        ["first", "p", "q"],
        ["last", "all"],
        name="along",
        body=made,
        num_scan_inputs=2,
        scan_input_axes=axes,
        scan_input_directions=directions,
        scan_output_axes=[out_axis],
        scan_output_directions=[out_direction],
    )
    inputs: Mapping[str, Value] = {"first": ("float32", [2]), "p": ("float32", shapes[0]), "q": ("float32", shapes[1])}
    return small_model([found], inputs, {"last": ("float32", [2]), "all": ("float32", None)}, opset=18)


@pytest.mark.parametrize(
    ("axes", "directions", "out_axis", "out_direction"),
    [([0, 0], [0, 0], 0, 0), ([1, 0], [0, 1], 1, 0), ([-1, -2], [1, 1], -1, 1), ([0, 1], [1, 0], -2, 1)],
)
def test_a_scan_along_a_known_axis_is_native(axes: list[int], directions: list[int], out_axis: int, out_direction: int) -> None:
    model = scan(axes, directions, out_axis, out_direction)
    assert "Scan" not in operators(model)
    assert_native(model)


def test_a_scan_along_a_named_axis_stays() -> None:
    made = body(
        [node("Add", "state a", "next"), node("Identity", "next", "each")],
        {"state": ("float32", []), "a": ("float32", [])},
        {"next": ("float32", []), "each": ("float32", [])},
    )
    found = helper.make_node("Scan", ["first", "p"], ["last", "all"], name="along", body=made, num_scan_inputs=1)
    model = small_model(
        [found], {"first": ("float32", []), "p": ("float32", ["n"])}, {"last": ("float32", []), "all": ("float32", ["n"])}, opset=18
    )
    assert operators(model) == ["Scan"]


def test_operators_of_a_step_are_called_after_the_loop_and_the_step() -> None:
    graph = prepare(loop(2, True, STEP), "m")
    assert [found.name for found in graph.nodes if found.proto.op_type == "Mul"] == ["around/0/mul_h", "around/1/mul_h"]


def test_names_that_are_taken_are_not_given_again() -> None:
    model = loop(2, True, STEP)
    model.graph.node.append(node("Neg", "x", "around/1/h"))
    model.graph.output.append(helper.make_tensor_value_info("around/1/h", TensorProto.FLOAT, [3]))
    assert_native(model)


def test_the_model_that_was_given_is_not_changed() -> None:
    model = loop(2, True, STEP)
    before = model.SerializeToString(deterministic=True)
    lb.from_onnx(model)
    assert model.SerializeToString(deterministic=True) == before
