"""Recurrent layers against float64, on every target; what is spread over threads; kernels without the rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import landbridge as lb
from landbridge.codegen import build, schedules
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.schedules.recurrent import Recurrent
from landbridge.codegen.target import resolve_target
from landbridge.passes import place_program
from support.other_targets import X86_64_V3, OnTargets, run_on
from support.recurrent_reference import GATES, Array, Layer, evaluate

FORWARD, REVERSE, BOTH = (False,), (True,), (False, True)
INPUTS = 3


@dataclass(frozen=True)
class Case:
    """A layer with its data.

    Attributes:
        lengths: of the sequences, where they have lengths of their own.
        named: whether the numbers of steps and sequences are known only when it runs.
    """

    name: str
    layer: Layer
    x: Array
    weights: tuple[Array, Array, Array]
    lengths: Array | None
    named: bool

    @property
    def feeds(self) -> dict[str, Array]:
        return {f"x_{self.name}": self.x, **({} if self.lengths is None else {f"lengths_{self.name}": self.lengths})}


def _case(layer: Layer, steps: int, batch: int, hidden: int, *, with_lengths: bool = False, named: bool = False) -> Case:
    reset = "_before_reset" if layer.linear_before_reset else ""
    name = f"{layer.kind}{reset}_{layer.attributes['direction']}_{steps}_{batch}_{hidden}{'_lengths' * with_lengths}{'_named' * named}"
    random = np.random.default_rng(steps * batch * hidden)
    directions, gates, bound = len(layer.backwards), GATES[layer.kind] * hidden, 1 / np.sqrt(hidden)
    shapes = (directions, gates, INPUTS), (directions, gates, hidden), (directions, 2 * gates)
    weights = tuple(random.uniform(-bound, bound, shape).astype("float32") for shape in shapes)
    x = random.standard_normal((steps, batch, INPUTS)).astype("float32")
    lengths = random.integers(0, steps + 1, batch).astype("int32") if with_lengths else None
    return Case(name, layer, x, weights, lengths, named)  # type: ignore[arg-type]  # there are three


LSTM, GRU, GRU_BEFORE, RNN = Layer("LSTM"), Layer("GRU"), Layer("GRU", linear_before_reset=True), Layer("RNN")


def _both(layer: Layer) -> Layer:
    return Layer(layer.kind, BOTH, layer.linear_before_reset)


CASES = [
    # less than a panel, a panel and a bit, whole tiles and a last one; one row, less than a tile, tiles and a last one
    *(_case(layer, 4, 1, 5) for layer in (LSTM, GRU, GRU_BEFORE, RNN)),
    *(_case(layer, 3, 9, 17) for layer in (LSTM, GRU, GRU_BEFORE, RNN)),
    *(_case(_both(layer), 3, 3, 96) for layer in (LSTM, GRU, GRU_BEFORE, RNN)),
    *(_case(_both(layer), 4, 5, 20, with_lengths=True) for layer in (LSTM, GRU, GRU_BEFORE, RNN)),
    *(_case(_both(layer), 3, 10, 16, with_lengths=True, named=True) for layer in (LSTM, GRU, RNN)),
    _case(Layer("LSTM", REVERSE), 3, 2, 33, named=True),
    _case(_both(GRU), 0, 2, 5, named=True),
    _case(_both(LSTM), 24, 24, 40),  # each thread takes sequences of its own
    _case(_both(LSTM), 2, 2, 208),  # each thread takes units of each step
    _case(GRU, 2, 3, 304),
]


def _model(cases: Sequence[Case]) -> Any:
    nodes, ports, constants, outputs = [], [], [], []
    for case in cases:
        steps, batch = (f"steps_{case.name}", f"batch_{case.name}") if case.named else case.x.shape[:2]
        ports.append(helper.make_tensor_value_info(f"x_{case.name}", TensorProto.FLOAT, [steps, batch, INPUTS]))
        if case.lengths is not None:
            ports.append(helper.make_tensor_value_info(f"lengths_{case.name}", TensorProto.INT32, [batch]))
        names = [f"{name}_{case.name}" for name in ("w", "r", "b")]
        constants += [numpy_helper.from_array(array, name) for array, name in zip(case.weights, names, strict=True)]
        states = [f"{name}_{case.name}" for name in ("y", "h", "c")][: 3 if case.layer.kind == "LSTM" else 2]
        lengths = [f"lengths_{case.name}"] if case.lengths is not None else []
        hidden = case.weights[1].shape[2]
        given = [f"x_{case.name}", *names, *lengths]
        nodes.append(helper.make_node(case.layer.kind, given, states, hidden_size=hidden, **case.layer.attributes))
        directions = len(case.layer.backwards)
        shapes = [[steps, directions, batch, hidden], *[[directions, batch, hidden]] * 2]
        outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(states, shapes, strict=False)]
    graph = helper.make_graph(nodes, "layers", ports, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _compute(cases: Sequence[Case], target: str | None = None) -> dict[str, Array]:
    artifact = build(place_program(lb.from_onnx(_model(cases), fallback=False)), target, name="layers")
    return run_on(target, artifact)(**{name: array for case in cases for name, array in case.feeds.items()})


def _assert_right(case: Case, results: Mapping[str, Array]) -> None:
    expected = evaluate(case.layer, case.x, *case.weights, case.lengths)
    for name, wanted in zip("yhc", expected, strict=False):
        found = results[f"{name}_{case.name}"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)  # states of size one, sums of a few hundred products


ON_TARGETS = OnTargets(CASES, _compute)


@pytest.mark.parametrize(("target", "case"), ON_TARGETS.params())
def test_a_layer_is_right(target: str | None, case: Case) -> None:
    _assert_right(case, ON_TARGETS.results(target, case))


def test_kernels_are_right_without_the_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("LANDBRIDGE_CACHE", str(tmp_path))  # a kernel's name does not tell which rules there were
    monkeypatch.setattr(schedules, "RULES", tuple(rule for rule in schedules.RULES if not isinstance(rule, Recurrent)))
    cases = [_case(_both(layer), 4, 3, 20, with_lengths=True) for layer in (LSTM, GRU, GRU_BEFORE, RNN)]
    found = _compute(cases)
    for case in cases:
        _assert_right(case, found)


def _kernels(case: Case) -> list[Any]:
    """Return the kernels of a layer as they are before schedules."""
    graph = read_graph(place_program(lb.from_onnx(_model([case]), fallback=False)))
    return list(lower(graph, schedule_steps(graph), resolve_target(X86_64_V3).tvm).kernels.functions.values())


def _scheduled(case: Case) -> list[str]:
    """Return the text of the layer's kernel, scheduled; the rule declines the others."""
    target = resolve_target(X86_64_V3).tvm
    found = [Recurrent().apply(kernel, target) for kernel in _kernels(case)]
    return [str(kernel.script()) for kernel in found if kernel is not None]


SPREAD = {
    "little": (_case(_both(LSTM), 4, 1, 20), ""),
    "each_its_own_sequences": (_case(LSTM, 64, 32, 64), "part"),
    "each_its_own_direction": (_case(_both(LSTM), 64, 1, 128), "part"),
    "each_its_own_units": (_case(LSTM, 16, 4, 512), "tile"),
    "each_its_own_units_of_one_direction": (_case(_both(LSTM), 16, 1, 256), "tile"),
    "sequences_of_an_unknown_number": (_case(LSTM, 16, 1, 128, named=True), "part"),
}


@pytest.mark.parametrize("name", SPREAD)
def test_what_is_spread_over_threads(name: str) -> None:
    case, loop = SPREAD[name]
    (text,) = _scheduled(case)
    assert re.findall(r"for (\w+) in T.parallel", text) == ([loop] if loop else [])


def test_the_rule_declines_other_kernels() -> None:
    target = resolve_target(X86_64_V3).tvm
    kernels = _kernels(_case(LSTM, 4, 1, 20))
    assert [Recurrent().apply(kernel, target) is None for kernel in kernels].count(True) == len(kernels) - 1 > 0
