from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.assemble_plan import CONSTANTS
from landbridge.ir.program import ExternModel
from landbridge.runtime import description
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.plan import Buffer, Copy, Extern, Plan, Segment
from support.host_library import HostRun
from support.placed_programs import build_main, call_model, copy_to, placed, signature

Externs = Mapping[str, tuple[ExternModel, str]]
GEARED = ExternModel("atlas", b"geared", signature([("batch", 4)], [("batch", 4)], gears=(2, 8)), name="m.om")
STATIC = ExternModel("atlas", b"static", signature([(3, 4)], [(3, 4)]), name="s.om")
BLOB = ExternModel("openvino", b"blob", signature([(3, 4)], [(3, 4)]), name="o.blob")
X = np.random.default_rng(3).standard_normal((3, 4)).astype("float32")


def _built(make: Any, externs: Externs, rows: Any = 3, **options: Any) -> Artifact:
    return build(placed(build_main({"x": ((rows, 4), "float32")}, make), externs, **options), name="model")


def _model(emit: Any, symbol: str, x: Any, device: str = "atlas0") -> Any:
    return emit(copy_to(emit(call_model(symbol, [emit(copy_to(x, device))], relax.TensorType(x.ty.shape, x.ty.dtype))), "cpu"))


def _buffers(artifact: Artifact, device: str) -> list[Buffer]:
    return [buffer for buffer in artifact.plan.buffers if buffer.device == device]


def _kinds(artifact: Artifact) -> list[type]:
    return [type(step) for step in artifact.plan.steps]


def test_segments_and_device_steps_follow_the_data() -> None:
    artifact = _built(lambda emit, x: [emit(op.exp(_model(emit, "m", emit(op.negative(x)))))], {"m": (STATIC, "atlas0")}, outputs=["y"])
    assert _kinds(artifact) == [Segment, Copy, Extern, Copy, Segment]
    assert [step.after for step in artifact.plan.steps] == [(), (0,), (1,), (2,), (3,)]
    np.testing.assert_allclose(HostRun(artifact, {"m": lambda a: [a * 2]})(x=X)["y"], np.exp(-X * 2), rtol=1e-5)


def test_the_plan_survives_its_own_text() -> None:
    artifact = _built(lambda emit, x: [emit(op.exp(_model(emit, "m", x)))], {"m": (GEARED, "atlas0")}, rows="n")
    assert Plan.from_json(artifact.plan.to_json()) == artifact.plan


def test_buffers_of_a_geared_model_have_room_for_its_largest_gear() -> None:
    artifact = _built(lambda emit, x: [_model(emit, "m", x)], {"m": (GEARED, "atlas0")}, rows="n")
    assert [buffer.nbytes for buffer in _buffers(artifact, "atlas0")] == [["*", ["+", "n", 6], 16]] * 2
    assert [buffer.nbytes for buffer in _buffers(artifact, "cpu")] == [["*", "n", 16]] * 2


def test_a_device_input_of_a_geared_model_has_room_too() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(copy_to(emit(call_model("m", [x], relax.TensorType(x.ty.shape, "float32"))), "cpu"))]

    artifact = _built(make, {"m": (GEARED, "atlas0")}, rows=8, inputs={"x": "atlas0"})
    (entry,) = artifact.plan.inputs
    buffer = artifact.plan.buffers[entry.buffer]
    assert (buffer.storage, buffer.device, buffer.nbytes) == ("input", "atlas0", (8 + 6) * 16)


def test_copies_to_host_memory_are_aliases() -> None:
    artifact = _built(
        lambda emit, x: [emit(op.exp(_model(emit, "m", emit(op.negative(x)), "openvino0")))], {"m": (BLOB, "openvino0")}, outputs=["y"]
    )
    assert _kinds(artifact) == [Segment, Extern, Segment]
    assert [(buffer.device, buffer.storage) for buffer in artifact.plan.buffers] == [
        ("cpu", "input"),
        ("cpu", "arena"),
        ("openvino0", "alias"),
        ("openvino0", "arena"),
        ("cpu", "alias"),
        ("cpu", "arena"),
    ]
    np.testing.assert_allclose(HostRun(artifact, {"m": lambda a: [a * 2]})(x=X)["y"], np.exp(-X * 2), rtol=1e-5)


def test_host_memory_is_known_where_a_device_has_no_model_of_its_own() -> None:
    artifact = _built(lambda emit, x: [emit(op.exp(emit(copy_to(x, "cpu"))))], {}, inputs={"x": "openvino0"})
    assert _kinds(artifact) == [Segment]
    assert artifact.plan.buffers[0].device == "openvino0"


def test_two_devices_in_host_memory_are_aliases_of_the_cpu_between_them() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [_model(emit, "right", _model(emit, "left", x, "openvino0"), "openvino1")]

    artifact = _built(make, {"left": (BLOB, "openvino0"), "right": (BLOB, "openvino1")}, outputs=["y"])
    assert Plan.from_json(artifact.plan.to_json()) == artifact.plan
    assert _kinds(artifact) == [Extern, Extern]
    models = {"left": lambda a: [a + 1], "right": lambda a: [a * 3]}
    np.testing.assert_array_equal(HostRun(artifact, models)(x=X)["y"], (X + 1) * 3)


def test_a_constant_goes_to_a_device_once_and_stays_there() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        there = emit(copy_to(relax.const(X), "atlas0"))
        first = emit(call_model("m", [there], relax.TensorType((3, 4), "float32")))
        second = emit(call_model("m", [first], relax.TensorType((3, 4), "float32")))
        return [emit(copy_to(emit(call_model("m", [second], relax.TensorType((3, 4), "float32"))), "cpu"))]

    artifact = _built(make, {"m": (STATIC, "atlas0")}, outputs=["y"])
    copy = artifact.plan.steps[0]
    assert isinstance(copy, Copy)
    assert copy.once
    offsets = [buffer.offset for buffer in _buffers(artifact, "atlas0")]
    assert len(offsets) == 4
    assert offsets.count(offsets[0]) == 1  # nothing else ever lives where the constant is
    assert offsets[1] == offsets[3]
    np.testing.assert_array_equal(HostRun(artifact, {"m": lambda a: [a + 1]})(x=X)["y"], X + 3)


def test_equal_constants_are_kept_once() -> None:
    table = np.arange(100, dtype="float32")

    def make(emit: Any, x: Any) -> list[Any]:
        first = emit(op.add(emit(op.reshape(x, (12,))), relax.const(table[:12])))
        return [emit(op.exp(emit(op.reshape(first, (3, 4))))), relax.const(table[:12]), relax.const(table[:12].reshape(3, 4))]

    artifact = _built(make, {}, outputs=["y", "k", "k2"])
    constants = [buffer for buffer in artifact.plan.buffers if buffer.storage == "constant"]
    assert {(buffer.section, buffer.offset) for buffer in constants} == {(CONSTANTS, 0)}
    assert len(artifact.sections[CONSTANTS]) == 64
    found = HostRun(artifact)(x=X)
    np.testing.assert_allclose(found["y"], np.exp(X + table[:12].reshape(3, 4)), rtol=1e-5)
    np.testing.assert_array_equal(found["k"], table[:12])


def test_constants_start_at_multiples_of_64() -> None:
    artifact = _built(lambda emit, x: [relax.const(np.ones(3, "int8")), relax.const(np.arange(20)), x], {}, outputs=["a", "b", "c"])
    assert [buffer.offset for buffer in artifact.plan.buffers if buffer.storage == "constant"] == [0, 64]


def test_inputs_and_constants_can_be_outputs() -> None:
    artifact = _built(lambda emit, x: [x, emit(op.reshape(x, (4, 3))), relax.const(7.0)], {}, outputs=["same", "seen", "seven"])
    assert artifact.plan.steps == ()
    assert list(artifact.sections) == [CONSTANTS, description.SECTION]
    assert artifact.target.triple == ""  # there is no host library
    found = HostRun(artifact)(x=X)
    np.testing.assert_array_equal(found["same"], X)
    np.testing.assert_array_equal(found["seen"], X.reshape(4, 3))
    assert found["seven"] == 7


def test_an_output_keeps_its_memory_to_the_end() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        values = [emit(op.exp(x))]
        for _ in range(6):
            values.append(_model(emit, "m", values[-1]))
        return [values[0], values[3], values[-1]]

    artifact = _built(make, {"m": (STATIC, "atlas0")}, outputs=["a", "b", "c"])
    found = HostRun(artifact, {"m": lambda a: [a + 1]})(x=X)
    for name, more in (("a", 0), ("b", 3), ("c", 6)):
        np.testing.assert_allclose(found[name], np.exp(X) + more, rtol=1e-5)
    assert artifact.plan.arenas["atlas0"] == 2 * 64


def test_a_shape_that_depends_on_the_data_is_a_late_buffer() -> None:
    model = ExternModel("onnxruntime", b"onnx", signature([(3, 4)], [("k", 2)], dtype="int64"), name="NonZero")

    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(call_model("m", [x], relax.TensorType([tirx.Var("k", "int64"), 2], "int64")))]

    artifact = _built(make, {"m": (model, "cpu")}, outputs=["where"])
    late = artifact.plan.buffers[artifact.plan.outputs[0].buffer]
    assert (late.storage, late.shape, late.nbytes) == ("late", (-1, 2), 0)
    assert Plan.from_json(artifact.plan.to_json()) == artifact.plan
    np.testing.assert_array_equal(HostRun(artifact, {"m": lambda a: [np.argwhere(a > 0)]})(x=X)["where"], np.argwhere(X > 0))


def test_equal_blobs_are_one_section() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [_model(emit, "c", _model(emit, "b", _model(emit, "a", x)))]

    other = ExternModel("atlas", b"static", signature([(3, 4)], [(3, 4)]), options={"k": "v"}, name="copy.om")
    artifact = _built(make, {"a": (STATIC, "atlas0"), "b": (GEARED, "atlas0"), "c": (other, "atlas0")})
    assert [(record.symbol, record.section, record.name) for record in artifact.externs] == [
        ("a", "vendor/0", "s.om"),
        ("b", "vendor/1", "m.om"),
        ("c", "vendor/0", "copy.om"),
    ]
    assert artifact.sections["vendor/0"] == b"static"
    assert artifact.externs[2].options == {"k": "v"}


def test_memory_of_a_long_program_over_a_named_dimension_is_bounded() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        for _ in range(20):
            x = emit(op.matmul(x, relax.const(np.eye(4, dtype="float32"))))
        return [x]

    artifact = _built(make, {}, rows="n", outputs=["y"])
    assert artifact.plan.arenas["cpu"] == ["*", ["//", ["+", ["*", "n", 16], 63], 64], 128]
    np.testing.assert_allclose(HostRun(artifact)(x=X)["y"], X, rtol=1e-6)


def test_operators_have_the_users_names() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.negative(emit(op.exp(x), "a")), "b")]

    artifact = _built(make, {}, names={"a": "/head/Exp_output"})
    (step,) = artifact.plan.steps
    assert isinstance(step, Segment)
    assert step.operators == ("/head/Exp_output", "b")


def test_the_tensors_of_a_kernel_with_several_results_are_told_apart() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        parts = emit(op.split(x, 2, axis=1))
        return [emit(relax.TupleGetItem(parts, 1)), emit(op.exp(emit(relax.TupleGetItem(parts, 0))))]

    found = HostRun(_built(make, {}, outputs=["right", "left"]))(x=X)
    np.testing.assert_array_equal(found["right"], X[:, 2:])
    np.testing.assert_allclose(found["left"], np.exp(X[:, :2]), rtol=1e-5)


def test_equal_results_share_a_buffer() -> None:
    module = build_main({"x": ((3, 4), "float32")}, lambda emit, x: [emit(op.exp(x)), emit(op.exp(x))])
    artifact = build(placed(module, outputs=["a", "b"]), name="twice")
    assert len({output.buffer for output in artifact.plan.outputs}) == 1


def test_models_that_may_run_together_do_not_share_memory() -> None:
    def side_by_side(emit: Any, x: Any) -> list[Any]:
        there = emit(copy_to(x, "atlas0"))
        return [emit(copy_to(emit(call_model(symbol, [there], x.ty)), "cpu")) for symbol in "mn"]

    def in_a_row(emit: Any, x: Any) -> list[Any]:
        return [_model(emit, "n", _model(emit, "m", x))]

    other = ExternModel("atlas", b"other", STATIC.signature, name="t.om")
    externs = {"m": (STATIC, "atlas0"), "n": (other, "atlas0")}
    for make, shared in ((side_by_side, False), (in_a_row, True)):
        plan = _built(make, externs).plan
        results = {plan.buffers[step.outputs[0]].offset for step in plan.steps if isinstance(step, Extern)}
        assert (len(results) == 1) == shared
