"""Recurrent layers against a plain reading of the specification, and against ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import landbridge as lb
from support.recurrent_reference import Layer, evaluate
from support.run_operators import One, check

RNG = np.random.default_rng(2)
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def floats(*shape: int) -> Any:
    return (RNG.standard_normal(shape) * 0.5).astype(np.float32)


def inputs_of(kind: str, directions: int, layout: int, optional: str) -> list[Any]:
    """Return inputs, those of ``optional`` among them: b, l (lengths), h, c, p."""
    gates = GATES[kind] * HIDDEN
    state = (BATCH, directions, HIDDEN) if layout else (directions, BATCH, HIDDEN)
    given = [
        floats(*((BATCH, STEPS) if layout else (STEPS, BATCH)), INPUT),
        floats(directions, gates, INPUT),
        floats(directions, gates, HIDDEN),
        floats(directions, 2 * gates) if "b" in optional else None,
        np.array([5, 2, 3], np.int32) if "l" in optional else None,
        floats(*state) if "h" in optional else None,
    ]
    if kind == "LSTM":
        given += [floats(*state) if "c" in optional else None, floats(directions, 3 * HIDDEN) if "p" in optional else None]
    return given


def by_onnxruntime(kind: str, inputs: list[Any], attributes: dict[str, Any]) -> list[Any]:
    names = [f"i{n}" if value is not None else "" for n, value in enumerate(inputs)]
    outputs = ["y", "h", "c"][: 3 if kind == "LSTM" else 2]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
        if name
    ]
    node = helper.make_node(kind, names, outputs, **attributes)
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info(name) for name in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: value for name, value in zip(names, inputs, strict=True) if name}))


def case(name: str, kind: str, optional: str = "bhcp", layout: int = 0, **attributes: Any) -> One:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    inputs = inputs_of(kind, directions, layout, optional)
    attributes = {"hidden_size": HIDDEN, **attributes}
    if layout:  # ONNX Runtime has the other layout only
        turned = [inputs[0].swapaxes(0, 1), *inputs[1:5], *(None if v is None else v.swapaxes(0, 1) for v in inputs[5:7]), *inputs[7:]]
        found = by_onnxruntime(kind, turned, attributes)
        expected = [found[0].transpose(2, 0, 1, 3), *(state.swapaxes(0, 1) for state in found[1:])]
        return One(name, kind, inputs, expected, attributes={**attributes, "layout": 1})
    constants = [1, 2, *([3] if inputs[3] is not None else [])]
    return One(name, kind, inputs, by_onnxruntime(kind, inputs, attributes), constants=constants, attributes=attributes)


@pytest.mark.parametrize("kind", GATES)
def test_every_direction_with_and_without_what_may_be_left_out(kind: str) -> None:
    cases = [
        case(f"{direction}_{number}", kind, optional, direction=direction)
        for direction, (number, optional) in itertools.product(
            ("forward", "reverse", "bidirectional"), enumerate(("", "b", "bh", "bhc", "bhcp", "blhcp", "l"))
        )
    ]
    cases += [case(f"layout_{direction}", kind, layout=1, direction=direction) for direction in ("forward", "reverse", "bidirectional")]
    check(cases, opset=14, rtol=1e-4, atol=1e-5)


def test_activations_limits_and_couplings() -> None:
    gentle = ["HardSigmoid", "Softsign", "Tanh", "Sigmoid", "Relu", "Tanh"]
    cases = [
        case("clip", "LSTM", clip=0.3),
        case("coupled", "LSTM", "bhc", input_forget=1),
        case("several", "LSTM", "bhc", direction="bidirectional", activations=gentle),
        case("reset", "GRU", linear_before_reset=1),
        case("reset_both_ways", "GRU", "bhl", linear_before_reset=1, direction="bidirectional"),
        case("leaky", "RNN", activations=["LeakyRelu"], activation_alpha=[0.2]),
        case("affine", "RNN", activations=["Affine"], activation_alpha=[0.5], activation_beta=[0.1]),
        case("elu", "GRU", activations=["Sigmoid", "Elu"], activation_alpha=[0.7]),
        case("scaled", "RNN", activations=["ScaledTanh"], activation_alpha=[0.5], activation_beta=[1.5]),
        case("softplus", "RNN", activations=["Softplus"]),
        case("thresholded", "RNN", activations=["ThresholdedRelu"], activation_alpha=[0.1]),
    ]
    check(cases, opset=14, rtol=1e-4, atol=1e-5)


LAYERS = {"lstm": Layer("LSTM"), "gru": Layer("GRU", (False, True)), "gru_before_reset": Layer("GRU", (True,), True), "rnn": Layer("RNN")}


def from_reference(name: str, steps: int, hidden: int, dtype: str = "float32") -> One:
    """Return a layer whose results are those of float64, and whose weights keep the scale of what they are applied to."""
    layer, random, bound = LAYERS[name], np.random.default_rng(3), 1 / np.sqrt(hidden)
    directions, gates = len(layer.backwards), GATES[layer.kind] * hidden
    shapes = (directions, gates, INPUT), (directions, gates, hidden), (directions, 2 * gates)
    weights = [random.uniform(-bound, bound, shape).astype(dtype) for shape in shapes]
    x = random.standard_normal((steps, 2, INPUT)).astype(dtype)
    expected = [array.astype(dtype) for array in evaluate(layer, x, *weights)]
    attributes = {**layer.attributes, "hidden_size": hidden}
    return One(f"{name}_{dtype}", layer.kind, [x, *weights], expected, constants=[1, 2, 3], attributes=attributes)


def test_errors_do_not_grow_over_a_long_sequence() -> None:
    # States are of size one; a sum of 64 products rounds to a few 1e-7, and a gate that is less than one damps what came before.
    check([from_reference(name, 200, 64) for name in LAYERS], opset=14, rtol=0, atol=2e-6)


def test_other_types_are_computed_in_float32() -> None:
    check([from_reference(name, 5, HIDDEN, "float64") for name in LAYERS], opset=14, rtol=0, atol=1e-6)
    check([from_reference(name, 5, HIDDEN, "float16") for name in LAYERS], opset=14, rtol=0, atol=1e-3)  # half a unit in the last place


def test_one_artifact_takes_sequences_of_any_length_and_number() -> None:
    weights = {"w": floats(2, 4 * HIDDEN, INPUT), "r": floats(2, 4 * HIDDEN, HIDDEN)}
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=HIDDEN, direction="bidirectional")],
        "lstm",
        [helper.make_tensor_value_info("x", 1, ["steps", "batch", INPUT])],
        [helper.make_tensor_value_info("y", 1, ["steps", 2, "batch", HIDDEN])],
        [helper.make_tensor(name, 1, value.shape, value.reshape(-1)) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    program = lb.from_onnx(model)
    assert not program.fallbacks
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with lb.compile(program).load() as session:
        for steps, batch in ((1, 1), (7, 2), (2, 5)):
            x = floats(steps, batch, INPUT)
            np.testing.assert_allclose(session.run({"x": x})["y"], reference.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)
