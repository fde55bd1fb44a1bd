from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import landbridge as lb
from landbridge.codegen import build
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.schedules.default import Default
from landbridge.codegen.schedules.resample import Resample
from landbridge.codegen.target import resolve_target
from landbridge.passes import place_program
from support.other_targets import TARGETS, run_on
from support.small_onnx import node, small_model

Array = np.ndarray[Any, Any]

RNG = np.random.default_rng(3)
MEAN, DEVIATION = np.array([120, 110, 100], "float32"), np.array([58, 57, 56], "float32")


def _tables(before: int, after: int) -> tuple[Array, Array, Array]:
    place = (np.arange(after) + 0.5) * before / after - 0.5
    first = np.floor(place)
    return np.clip(first, 0, before - 1).astype(int), np.clip(first + 1, 0, before - 1).astype(int), place - first


def _linear(data: Array, axis: int, after: int) -> Array:
    """Return the data with one axis resized, in float64, from the definition."""
    first, second, share = _tables(data.shape[axis], after)
    share = share.reshape([-1 if a == axis else 1 for a in range(data.ndim)])
    return np.asarray(np.take(data, first, axis) * (1 - share) + np.take(data, second, axis) * share)


@dataclass
class Model:
    """A model of several pictures while it is written, and what they become by NumPy."""

    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    feeds: dict[str, Array] = field(default_factory=dict)
    expected: dict[str, Array] = field(default_factory=dict)

    def constant(self, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def add(self, operator: str, *names: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, names, [f"v{len(self.nodes)}"], **attributes))
        return f"v{len(self.nodes) - 1}"

    def picture(self, name: str, shape: tuple[int, ...], sizes: tuple[int, int], steps: str, *, last: bool = False) -> None:
        """Add a picture of uint8.

        Args:
            last: its channels come last.
            steps: any of "turn" (channels first), "cast", "exp", "resize", "norm", "half", in order.
        """
        data = RNG.integers(0, 256, shape, "uint8")
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
        self.feeds[name] = data
        value, wanted = name, data.astype("float64")
        for step in steps.split():
            rows = 1 if last else 2
            if step == "cast":
                value = self.add("Cast", value, to=TensorProto.FLOAT)
            elif step == "half":
                value = self.add("Cast", value, to=TensorProto.FLOAT16)
            elif step == "turn":
                value, wanted, last = self.add("Transpose", value, perm=[0, 3, 1, 2]), wanted.transpose(0, 3, 1, 2), False
            elif step == "exp":
                value, wanted = self.add("Exp", value), np.exp(wanted)
            elif step == "norm":
                mean, deviation = (v if last else v.reshape(3, 1, 1) for v in (MEAN, DEVIATION))
                value = self.add("Div", self.add("Sub", value, self.constant(mean)), self.constant(deviation))
                wanted = (wanted - mean) / deviation
            else:
                whole = np.array([*wanted.shape[:rows], *sizes, *wanted.shape[rows + 2 :]], "int64")
                value = self.add("Resize", value, "", "", self.constant(whole), mode="linear")
                wanted = _linear(_linear(wanted, rows, sizes[0]), rows + 1, sizes[1])
        dtype = TensorProto.FLOAT16 if "half" in steps else TensorProto.FLOAT
        self.outputs.append(helper.make_tensor_value_info(value, dtype, wanted.shape))
        self.expected[value] = wanted

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "pictures", self.inputs, self.outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FORMS = ("cast resize norm turn half", "turn cast resize norm half", "cast norm resize turn half", "cast turn norm resize half")


def _forms(forms: Sequence[str] = FORMS) -> Model:
    model = Model()
    for number, steps in enumerate(forms):
        model.picture(f"form_{number}", (1, 18, 31, 3), (32, 20), steps, last=True)
    return model


def _all() -> Model:
    model = _forms(FORMS[1:3])
    for channels in (1, 5):
        model.picture(f"last_{channels}", (1, 9, 13, channels), (12, 7), "cast resize", last=True)
    model.picture("batch", (2, 10, 12, 3), (34, 30), "cast resize norm", last=True)
    model.picture("first", (2, 3, 10, 12), (7, 33), "cast resize")
    model.picture("large", (1, 40, 50, 4), (320, 300), "cast resize turn half", last=True)
    return model


@pytest.mark.parametrize("target", TARGETS)
def test_every_form_of_a_picture(target: str | None) -> None:
    model = _all()
    artifact = build(place_program(lb.from_onnx(model.model())), target, name="pictures")
    found = run_on(target, artifact)(**model.feeds)
    for name, expected in model.expected.items():
        half = found[name].dtype == np.float16
        np.testing.assert_allclose(found[name].astype("float64"), expected, rtol=1e-3 if half else 1e-5, atol=2e-3 if half else 1e-3)


def test_the_rule_takes_every_form_of_a_picture_as_one_kernel() -> None:
    host = resolve_target(None)
    graph = read_graph(place_program(lb.from_onnx(_forms().model())))
    kernels = lower(graph, schedule_steps(graph), host.tvm).kernels.functions
    assert len(kernels) == len(FORMS)
    assert all(Resample().apply(kernel, host.tvm) is not None for kernel in kernels.values())


@pytest.mark.parametrize(("shape", "sizes", "steps"), [((1, 6, 7, 20), (9, 9), "cast resize"), ((1, 6, 7, 3), (6, 9), "cast resize norm")])
def test_many_channels_or_one_axis_are_left_to_others(shape: tuple[int, ...], sizes: tuple[int, int], steps: str) -> None:
    host, model = resolve_target(None), Model()
    model.picture("x", shape, sizes, steps, last=True)
    program = place_program(lb.from_onnx(model.model()))
    graph = read_graph(program)
    kernels = lower(graph, schedule_steps(graph), host.tvm).kernels.functions
    assert all(Resample().apply(kernel, host.tvm) is None for kernel in kernels.values())
    found = run_on(None, build(program, name="one"))(**model.feeds)
    ((name, expected),) = model.expected.items()
    np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-4)


def test_functions_are_not_computed_again_for_each_neighbour() -> None:
    host, model = resolve_target(None), Model()
    model.picture("x", (1, 6, 7, 3), (9, 20), "cast exp resize", last=True)
    graph = read_graph(place_program(lb.from_onnx(model.model())))
    (kernel,) = lower(graph, schedule_steps(graph), host.tvm).kernels.functions.values()
    assert Resample().apply(kernel, host.tvm) is None
    scheduled = Default().apply(kernel, host.tvm)
    assert scheduled is not None
    assert str(scheduled.script()).count("T.exp") == 1


def test_there_may_be_any_number_of_pictures() -> None:
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("Resize", "f _ scales", "r", mode="linear"),
        node("Transpose", "r", "y", perm=[0, 3, 1, 2]),
    ]
    scales = np.array([1, 1.5, 0.5, 1], "float32")
    model = small_model(nodes, {"x": ("uint8", ("n", 8, 10, 3))}, {"y": ("float32", ("n", 3, 12, 5))}, {"scales": scales})
    host, program = resolve_target(None), place_program(lb.from_onnx(model))
    graph = read_graph(program)
    (kernel,) = lower(graph, schedule_steps(graph), host.tvm).kernels.functions.values()
    assert Resample().apply(kernel, host.tvm) is not None
    run = run_on(None, build(program, name="pictures"))
    for count in (1, 3):
        x = RNG.integers(0, 256, (count, 8, 10, 3), "uint8")
        expected = _linear(_linear(x.astype("float64"), 1, 12), 2, 5).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(run(x=x)["y"], expected, rtol=1e-5, atol=1e-3)
