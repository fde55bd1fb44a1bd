"""Odd but legal programs of the module API, compiled and run: devices, outputs and shapes at their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.memory import DeviceTensor
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

X = np.array([[-1, 2, -3, 4], [5, -6, 7, -8]], "float32")
SPEC = {"x": lb.TensorSpec((2, 4), "float32")}
ON_DEVICE = {"x": lb.TensorSpec((2, 4), "float32", device="atlas0")}


def om(op: str = "Neg", shape: tuple[Any, ...] = (2, 4), dtype: str = "float32", gears: tuple[int, ...] = ()) -> bytes:
    return make_om(small_model([node(op, "a", "b")], {"a": (dtype, shape)}, {"b": (dtype, shape)}), gears=gears)


class Net(lb.nn.Module):
    """A module whose ``forward`` is given; it has two offline models of one blob that negate, on two devices."""

    def __init__(self, forward: Any, shape: tuple[Any, ...] = (2, 4), dtype: str = "float32", gears: tuple[int, ...] = ()) -> None:
        self.first = lb.AtlasRuntimeSubgraph(om("Neg", shape, dtype, gears), device="atlas0")
        self.second = lb.AtlasRuntimeSubgraph(om("Neg", shape, dtype, gears), device="atlas1")
        self.weights = lb.nn.Parameter((2, 4), "float32")
        self.weights.data = X
        self.function = forward

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return self.function(self, x)


def compiled(forward: Any, spec: Mapping[str, lb.TensorSpec] = SPEC, mode: Any = "auto", **options: Any) -> lb.Compiled:
    result = lb.compile(lb.from_module(Net(forward, **options), spec), mode=mode)
    assert result.report.minimum_copies == len(result.report.copies)
    return result


def run(what: lb.Compiled, x: Any = X) -> dict[str, Any]:
    with what.load(simulate=["atlas"]) as session:
        return {k: v.numpy() if isinstance(v, DeviceTensor) else v for k, v in session.run({"x": x}).items()}


def links(what: lb.Compiled) -> list[tuple[str, str]]:
    return [(copy.source, copy.destination) for copy in what.report.copies]


def test_a_model_called_twice_in_a_row_stays_on_its_device() -> None:
    what = compiled(lambda net, x: net.first(net.first(x)[0]))
    assert links(what) == [("cpu", "atlas0"), ("atlas0", "cpu")]
    np.testing.assert_array_equal(run(what)["output"], X)


def test_a_model_called_twice_with_an_operator_between() -> None:
    what = compiled(lambda net, x: net.first(lb.nn.relu(net.first(x)[0])))
    assert len(what.report.copies) == 4
    np.testing.assert_array_equal(run(what)["output"], -np.maximum(-X, 0))


def test_one_blob_on_two_devices_is_stored_once_and_bridged_over_the_cpu() -> None:
    what = compiled(lambda net, x: net.second(net.first(x)[0]))
    assert links(what) == [("cpu", "atlas0"), ("atlas0", "cpu"), ("cpu", "atlas1"), ("atlas1", "cpu")]
    assert len([name for name in what.artifact.sections if name.startswith("vendor/")]) == 1
    np.testing.assert_array_equal(run(what)["output"], X)


def test_in_strict_mode_an_output_stays_on_its_device() -> None:
    what = compiled(lambda net, x: net.first(x), ON_DEVICE, "strict")
    assert links(what) == []
    with what.load(simulate=["atlas"]) as session:
        found = session.run({"x": session.to_device(X, "atlas0")})["output"]
        assert isinstance(found, DeviceTensor)
        np.testing.assert_array_equal(found.numpy(), -X)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_an_output_copied_to_a_device_is_there_in_either_mode(mode: str) -> None:
    what = compiled(lambda net, x: lb.copy(lb.nn.relu(x), "atlas0"), mode=mode)
    assert links(what) == [("cpu", "atlas0")]
    with what.load(simulate=["atlas"]) as session:
        found = session.run({"x": X})["output"]
        assert isinstance(found, DeviceTensor)
        np.testing.assert_array_equal(found.numpy(), np.maximum(X, 0))


def test_one_value_as_outputs_on_the_cpu_and_on_its_device() -> None:
    def forward(net: Net, x: Any) -> dict[str, Any]:
        y = net.first(x)[0]
        return {"here": y, "again": y, "there": lb.copy(y, "atlas0")}

    what = compiled(forward)
    assert links(what) == [("cpu", "atlas0"), ("atlas0", "cpu")]
    found = run(what)
    assert list(found) == ["here", "again", "there"]
    for array in found.values():
        np.testing.assert_array_equal(array, -X)
    assert not np.shares_memory(found["here"], found["again"])


def test_an_input_returned_as_it_is_is_an_array_of_its_own() -> None:
    found = run(compiled(lambda net, x: [x, x, lb.nn.relu(x)]))
    np.testing.assert_array_equal(found["output_1"], X)
    assert not any(np.shares_memory(found["output_0"], other) for other in (X, found["output_1"]))


def test_a_constant_output_cannot_be_spoilt_by_its_reader() -> None:
    with compiled(lambda net, x: [net.weights, lb.nn.relu(x)]).load(simulate=["atlas"]) as session:
        session.run({"x": X})["output_0"][:] = 9
        np.testing.assert_array_equal(session.run({"x": X})["output_0"], X)


def test_a_constant_crosses_once_and_not_in_every_run() -> None:
    what = compiled(lambda net, x: net.first(net.weights)[0] + x)
    assert [copy.once for copy in what.report.copies] == [True, False]
    with what.load(simulate=["atlas"]) as session:
        for _ in range(2):
            np.testing.assert_array_equal(session.run({"x": X})["output"], 0 * X)


def test_inputs_that_nothing_reads_are_still_taken_and_checked() -> None:
    class Part(lb.nn.Module):
        def forward(self, x, y):  # type: ignore[no-untyped-def]
            return lb.nn.relu(x)

    spec = {**SPEC, "y": lb.TensorSpec(("n",), "int64", device="atlas0")}
    with lb.compile(lb.from_module(Part(), spec)).load(simulate=["atlas"]) as session:
        for n in (3, 0):
            np.testing.assert_array_equal(session.run({"x": X, "y": np.arange(n)})["output"], np.maximum(X, 0))
        with pytest.raises(lb.errors.InputError, match="input 'y'"):
            session.run({"x": X, "y": X})


def test_a_tensor_without_axes_goes_through_an_offline_model() -> None:
    what = compiled(lambda net, x: lb.nn.relu(net.first(x)[0]), {"x": lb.TensorSpec((), "float32")}, shape=())
    found = run(what, np.array(-3, "float32"))["output"]
    assert found.shape == ()
    assert found == 3


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_batch_even_of_nothing(rows: int) -> None:
    what = compiled(
        lambda net, x: lb.nn.relu(net.first(lb.nn.relu(x))[0] + 1.0),
        {"x": lb.TensorSpec(("n", 4), "float32")},
        shape=("n", 4),
        gears=(1, 2, 4),
    )
    found = run(what, np.full((rows, 4), 0.5, "float32"))["output"]
    np.testing.assert_array_equal(found, np.full((rows, 4), 0.5, "float32"))


def test_wide_integers_keep_every_bit() -> None:
    what = compiled(lambda net, x: [net.first(x)[0], x], {"x": lb.TensorSpec((3,), "int64")}, shape=(3,), dtype="int64")
    numbers = np.array([1, -(2**62) - 1, 2**53 + 1])
    found = run(what, numbers)
    np.testing.assert_array_equal(found["output_0"], -numbers)
    np.testing.assert_array_equal(found["output_1"], numbers)


def test_booleans_and_bytes_are_what_they_are() -> None:
    class Types(lb.nn.Module):
        def forward(self, a, b):  # type: ignore[no-untyped-def]
            return a, lb.astype(a, "int64"), lb.astype(b, "float32")

    model = lb.from_module(Types(), {"a": lb.TensorSpec((3,), "bool"), "b": lb.TensorSpec((3,), "uint8")})
    found = lb.compile(model).load().run({"a": np.array([True, False, True]), "b": np.array([0, 127, 255], "uint8")})
    assert [array.tolist() for array in found.values()] == [[True, False, True], [1, 0, 1], [0.0, 127.0, 255.0]]
    assert [str(array.dtype) for array in found.values()] == ["bool", "int64", "float32"]


def test_names_in_any_script_reach_the_report_and_the_results() -> None:
    model = small_model(
        [node("Neg", "画像", "特徴"), node("Relu", "特徴", "ß/out:0")], {"画像": ("float32", (2, 4))}, {"ß/out:0": ("float32", (2, 4))}
    )
    by = lb.ExternModel.from_bytes(om(), name="モデル.om")
    what = lb.compile(lb.replace(lb.from_onnx(model), inputs=["画像"], outputs=["特徴"], by=by))
    assert [copy.value for copy in what.report.copies] == ["画像", "特徴"]
    with what.load(simulate=["atlas"]) as session:
        found = session.run({"画像": X})
    assert list(found) == ["ß/out:0"]
    np.testing.assert_array_equal(found["ß/out:0"], np.maximum(-X, 0))
