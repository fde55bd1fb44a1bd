"""The onnxruntime vendor: regions on the CPU, in ONNX Runtime and in onnx's reference evaluator."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from landbridge.runtime.driver import Driver, LoadedModel, TensorRef
from landbridge.runtime.errors import DeviceError, InputError, ModelError, SignatureError, UnsupportedError, UsageError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.onnxruntime import OnnxruntimeVendor
from support.small_onnx import node, small_model

VENDOR = OnnxruntimeVendor()
WEIGHT = np.arange(24, dtype=np.float32).reshape(8, 3) / 10
EVALUATORS = ["onnxruntime", "reference"]


def gemm() -> Any:
    return small_model(
        [node("MatMul", "d w", "g"), node("Relu", "g", "y"), node("Transpose", "g", "t", perm=[1, 0])],
        {"d": ("float32", ["n", 8])},
        {"y": ("float32", ["n", 3]), "t": ("float32", [3, "n"])},
        {"w": WEIGHT},
    )


@pytest.fixture
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0)
    yield opened
    opened.close()


def ref(array: NDArray[Any], dtype: str | None = None) -> TensorRef:
    return TensorRef(array.ctypes.data, array.nbytes, dtype or str(array.dtype), array.shape)


def load(driver: Driver, model: Any, **options: str) -> LoadedModel:
    blob = model.SerializeToString()
    return driver.load(blob, VENDOR.read_signature(blob, {}), options)


def test_the_registry_finds_it_by_name_and_by_bytes() -> None:
    assert registry.vendor("onnxruntime").device_kind == "cpu"
    found = registry.recognise(gemm().SerializeToString())
    assert found is not None
    assert found.name == "onnxruntime"


def test_only_whole_models_are_recognised() -> None:
    blob = gemm().SerializeToString()
    assert VENDOR.recognises(blob)
    for other in (b"", b"IMOD" + bytes(300), b"PK\x03\x04" + bytes(30), b"RR_UPCVO" + bytes(30), b"\x08\x08", blob[:-1], blob + b"\0"):
        assert not VENDOR.recognises(other)


def test_the_signature_is_the_graphs() -> None:
    signature = VENDOR.read_signature(gemm().SerializeToString(), {})
    assert signature.inputs == (Port("d", "float32", ("n", 8)),)
    assert signature.outputs == (Port("y", "float32", ("n", 3)), Port("t", "float32", (3, "n")))
    assert signature.versions == {"opset": "17", "ir_version": "8"}
    assert signature.weight_nbytes >= WEIGHT.nbytes


def test_an_initialised_input_is_no_input_and_a_nameless_dimension_gets_one() -> None:
    model = small_model([node("Add", "a/x w", "y")], {"a/x": ("float32", [None, 2])}, {"y": ("float32", [None, 2])}, {"w": WEIGHT[:1, :2]})
    model.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [1, 2]))
    signature = VENDOR.read_signature(model.SerializeToString(), {})
    assert signature.inputs == (Port("a/x", "float32", ("a_x_0", 2)),)


def test_describe_counts() -> None:
    facts = dict(VENDOR.describe(gemm().SerializeToString()))
    assert facts["operators"] == "3"
    assert facts["opset"] == "17"


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_results_are_in_place_for_any_batch(driver: Driver, evaluator: str) -> None:
    loaded = load(driver, gemm(), evaluator=evaluator, threads="1")
    for batch in (1, 5, 0):
        d = np.linspace(-1, 1, batch * 8, dtype=np.float32).reshape(batch, 8)
        y, t = np.full((batch, 3), np.nan, np.float32), np.full((3, batch), np.nan, np.float32)
        call = loaded.prepare([ref(d)], [ref(y), ref(t)])
        for _ in range(2):
            call()
            np.testing.assert_allclose(t, (d @ WEIGHT).T, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(y, np.maximum(d @ WEIGHT, 0), rtol=1e-5, atol=1e-6)
            d *= -2
        call.close()
        call.close()
    loaded.close()
    loaded.close()


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64", "int32", "int8", "uint8", "bool"])
def test_every_dtype_passes_unchanged(driver: Driver, dtype: str, evaluator: str) -> None:
    model = small_model([node("Transpose", "a", "y", perm=[1, 0])], {"a": (dtype, [2, 3])}, {"y": (dtype, [3, 2])})
    storage = "uint16" if dtype == "bfloat16" else dtype
    a, y = np.array([[0, 1, 1], [1, 0, 1]], storage), np.zeros((3, 2), storage)
    loaded = load(driver, model, evaluator=evaluator)
    loaded.prepare([ref(a, dtype)], [ref(y, dtype)])()
    np.testing.assert_array_equal(y, a.T)
    np.testing.assert_array_equal(loaded.run_late([a])[0], a.T)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_scalars_and_values_passed_through_arrive(driver: Driver, evaluator: str) -> None:
    constant = np.array([5, 6], np.float32)
    model = small_model(
        [node("ReduceSum", "a", "s", keepdims=0)],
        {"a": ("float32", [3])},
        {"s": ("float32", []), "a": ("float32", [3]), "c": ("float32", [2])},
        {"c": constant},
    )
    a, s, a_out, c = (np.array(x, np.float32) for x in ([1, 2, 3], 0, [0, 0, 0], [0, 0]))
    loaded = load(driver, model, evaluator=evaluator)
    loaded.prepare([ref(a)], [ref(s), ref(a_out), ref(c)])()
    assert s == 6
    np.testing.assert_array_equal(a_out, a)
    np.testing.assert_array_equal(c, constant)
    late = loaded.run_late([a])
    assert late[0].shape == ()
    np.testing.assert_array_equal(late[1], a)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_run_late_returns_fresh_arrays_of_any_shape(driver: Driver, evaluator: str) -> None:
    model = small_model([node("NonZero", "a", "y")], {"a": ("float32", ["n", 3])}, {"y": ("int64", [2, "count"])})
    loaded = load(driver, model, evaluator=evaluator)
    first = loaded.run_late([np.eye(3, dtype=np.float32)])[0]
    assert loaded.run_late([np.zeros((2, 3), np.float32)])[0].shape == (2, 0)
    np.testing.assert_array_equal(loaded.run_late([np.asfortranarray([[0, 1, 2]], np.float32)])[0], [[0, 0], [1, 2]])
    np.testing.assert_array_equal(first, [[0, 1, 2], [0, 1, 2]])


def test_strings_may_be_inside(driver: Driver) -> None:
    model = small_model(
        [node("Cast", "a", "s", to=onnx.TensorProto.STRING), node("Cast", "s", "y", to=1)], {"a": ("float32", [2])}, {"y": ("float32", [2])}
    )
    a = np.array([1.5, -2], np.float32)
    np.testing.assert_array_equal(load(driver, model).run_late([a])[0], a)


def test_strings_at_the_border_are_refused() -> None:
    model = small_model([node("Identity", "a", "y")], {"a": ("string", [2])}, {"y": ("string", [2])})
    with pytest.raises(SignatureError, match="input 'a' is string, expected a tensor of numbers"):
        VENDOR.read_signature(model.SerializeToString(), {})


def test_sequences_at_the_border_are_refused() -> None:
    model = small_model([node("Identity", "a", "y")], {"a": ("float32", [2])}, {"y": ("float32", [2])})
    model.graph.node[0].op_type = "SequenceConstruct"
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, [2]))
    with pytest.raises(SignatureError, match=r"output 'y' is sequence\(tensor\(float32\)\), expected a tensor"):
        VENDOR.read_signature(model.SerializeToString(), {})


def test_an_unknown_rank_is_refused() -> None:
    model = gemm()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(SignatureError, match=r"output 'y' is tensor\(float32\), expected a tensor of numbers whose rank is known"):
        VENDOR.read_signature(model.SerializeToString(), {})


@pytest.mark.parametrize("nested", [False, True])
def test_tensors_in_other_files_are_refused(nested: bool) -> None:
    model = gemm()
    tensor = model.graph.initializer[0]
    if nested:
        constant = helper.make_node("Constant", [], ["inner"], value=onnx.numpy_helper.from_array(WEIGHT, "far"))
        branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("inner", 1, [8, 3])])
        model.graph.node.append(helper.make_node("If", ["cond"], ["q"], then_branch=branch, else_branch=branch))
        tensor = model.graph.node[-1].attribute[0].g.node[0].attribute[0].t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(SignatureError, match=f"tensor '{tensor.name}' lies in another file"):
        VENDOR.read_signature(model.SerializeToString(), {})


def test_a_wrong_shape_or_type_is_refused_before_the_run(driver: Driver) -> None:
    loaded = load(driver, gemm())
    y, t = np.zeros((1, 3), np.float32), np.zeros((3, 1), np.float32)
    with pytest.raises(InputError, match=r"input 'd': float32 \[1, 7\], expected float32 \[n, 8\]"):
        loaded.prepare([ref(np.zeros((1, 7), np.float32))], [ref(y), ref(t)])


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_result_of_another_shape_than_planned_is_an_error(driver: Driver, evaluator: str) -> None:
    loaded = load(driver, gemm(), evaluator=evaluator)
    d, y, t = np.zeros((2, 8), np.float32), np.zeros((4, 3), np.float32), np.zeros((3, 2), np.float32)
    with pytest.raises(DeviceError, match=r"(4.3|4, 3)"):
        loaded.prepare([ref(d)], [ref(y), ref(t)])()


def test_what_onnxruntime_refuses_goes_to_the_reference_evaluator(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    model = small_model([node("BitwiseNot", "a", "y")], {"a": ("int32", [2])}, {"y": ("int32", [2])}, name="odd region", opset=18)
    model.opset_import[0].version = 999  # newer than any ONNX Runtime
    with caplog.at_level(logging.WARNING):
        loaded = load(driver, model)
    assert "region 'odd region' runs, slowly, in onnx's reference evaluator: onnxruntime refuses it" in caplog.text
    np.testing.assert_array_equal(loaded.run_late([np.array([0, 5], np.int32)])[0], [-1, -6])


def test_without_onnxruntime_the_reference_evaluator_runs_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    driver = VENDOR.open(0)
    loaded = load(driver, gemm())
    assert "onnxruntime is not installed" in caplog.text
    d = np.ones((1, 8), np.float32)
    np.testing.assert_allclose(loaded.run_late([d])[0], d @ WEIGHT, rtol=1e-6)


def test_without_either_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx.reference", None)
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(0)
    assert caught.value.hint == "pip install landbridge[onnxruntime]"


def test_an_operator_that_nobody_knows_is_a_device_error(driver: Driver) -> None:
    model = gemm()
    model.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(DeviceError, match="NoSuchOperator"):
        load(driver, model)


def test_a_failure_inside_names_its_cause(driver: Driver) -> None:
    model = small_model([node("Reshape", "a s", "y")], {"a": ("float32", ["n"]), "s": ("int64", [1])}, {"y": ("float32", ["m"])})
    arguments = [np.ones(3, np.float32), np.array([2], np.int64)]
    for evaluator in EVALUATORS:
        with pytest.raises(DeviceError, match=r"failed: .*eshape"):
            load(driver, model, evaluator=evaluator).run_late(arguments)


def test_a_signature_that_is_not_the_models_is_refused(driver: Driver) -> None:
    signature = VENDOR.read_signature(gemm().SerializeToString(), {})
    wrong = Signature(inputs=(Port("d", "float16", ("n", 8)),), outputs=signature.outputs)
    with pytest.raises(DeviceError, match="its signature says"):
        driver.load(gemm().SerializeToString(), wrong, {})


def test_a_wrong_thread_count_is_a_usage_error(driver: Driver) -> None:
    with pytest.raises(UsageError, match="option 'threads' is 'many', expected a positive number"):
        load(driver, gemm(), threads="many")


def test_there_is_no_simulator_and_compile_is_the_identity() -> None:
    with pytest.raises(UnsupportedError, match="no simulator"):
        VENDOR.open(0, simulate=True)
    blob = gemm().SerializeToString()
    assert VENDOR.compile(blob, {}) == blob
    with pytest.raises(ModelError, match="not a serialised ONNX model"):
        VENDOR.compile(b"garbage", {})


def test_truncated_or_flipped_bytes_raise_signature_errors_only() -> None:
    blob = gemm().SerializeToString()
    rng = np.random.default_rng(2)
    for length in range(len(blob)):
        with pytest.raises(SignatureError):
            VENDOR.read_signature(blob[:length], {})
    for position in range(len(blob)):
        flipped = bytearray(blob)
        flipped[position] ^= 1 << int(rng.integers(0, 8))
        with contextlib.suppress(SignatureError):
            VENDOR.read_signature(bytes(flipped), {})
