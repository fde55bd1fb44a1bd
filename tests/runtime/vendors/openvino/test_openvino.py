"""The OpenVINO vendor, against blobs made here: a blob only fits the OpenVINO and the CPU that exported it."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landbridge.runtime.driver import Driver, LoadedModel, TensorRef
from landbridge.runtime.errors import DeviceError, InputError, ModelError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.openvino import OpenvinoVendor
from support.small_onnx import node, small_model

VENDOR = OpenvinoVendor()
WEIGHT = np.arange(24, dtype=np.float32).reshape(3, 8) / 10
BIAS = np.array([1, 2, 3], np.float32)


def two_outputs() -> Any:
    return small_model(
        [node("Gemm", "d w b", "g", transB=1), node("Softmax", "g", "y", axis=1), node("Relu", "g", "z")],
        {"d": ("float32", ["n", 8])},
        {"z": ("float32", ["n", 3]), "y": ("float32", ["n", 3])},
        {"w": WEIGHT, "b": BIAS},
    )


@pytest.fixture(scope="module")
def blob() -> bytes:
    return VENDOR.compile(two_outputs().SerializeToString(), {})


@pytest.fixture
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0)
    yield opened
    opened.close()


def ref(array: NDArray[Any], dtype: str | None = None) -> TensorRef:
    return TensorRef(array.ctypes.data, array.nbytes, dtype or str(array.dtype), array.shape)


def load(driver: Driver, blob: bytes, **options: str) -> LoadedModel:
    return driver.load(blob, VENDOR.read_signature(blob, {}), options)


def softmax(x: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def test_the_registry_finds_it_by_name_and_by_bytes(blob: bytes) -> None:
    assert registry.vendor("openvino").device_kind == "openvino"
    found = registry.recognise(blob)
    assert found is not None
    assert found.name == "openvino"


def test_the_signature_keeps_order_names_and_named_dimensions(blob: bytes) -> None:
    signature = VENDOR.read_signature(blob, {})
    assert signature.inputs == (Port("d", "float32", ("n", 8)),)
    assert signature.outputs == (Port("z", "float32", ("n", 3)), Port("y", "float32", ("n", 3)))
    assert signature.weight_nbytes == WEIGHT.nbytes + BIAS.nbytes
    assert signature.versions["precision"] == "f32"
    assert signature.versions["openvino"].count(".") == 2
    assert signature.origin["inputs"] == "file"
    assert Signature.from_json(signature.to_json()) == signature


def test_describe_tells_what_made_it(blob: bytes) -> None:
    facts = dict(VENDOR.describe(blob))
    assert facts["exported by"].startswith("OpenVINO 20")
    assert facts["computes in"] == "f32"
    assert facts["constants"] == "108 bytes"


def test_a_blob_made_elsewhere_has_names_by_convention() -> None:
    ov = pytest.importorskip("openvino")
    core = ov.Core()
    parameter = ov.opset13.parameter([-1, 3, -1], ov.Type.f16, name="in/image")
    model = ov.Model([ov.opset13.relu(parameter)], [parameter], "elsewhere")
    exported = core.compile_model(model, "CPU").export_model()
    signature = VENDOR.read_signature(exported.getvalue(), {})
    assert signature.inputs == (Port("in/image", "float16", ("batch", 3, "in_image_2")),)
    assert signature.outputs[0].shape[0] == "batch"
    assert "precision" not in signature.versions


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64", "int32", "int8", "uint8", "bool"])
def test_every_dtype_passes_unchanged(driver: Driver, dtype: str) -> None:
    model = small_model([node("Transpose", "a", "y", perm=[1, 0])], {"a": (dtype, [2, 3])}, {"y": (dtype, [3, 2])})
    blob = VENDOR.compile(model.SerializeToString(), {})
    assert VENDOR.read_signature(blob, {}).inputs[0].dtype == dtype
    storage = "uint16" if dtype == "bfloat16" else dtype
    a, y = np.array([[0, 1, 1], [1, 0, 1]], storage), np.zeros((3, 2), storage)
    if dtype == "bfloat16":
        a *= 0x3F80  # 1.0
    load(driver, blob).prepare([ref(a, dtype)], [ref(y, dtype)])()
    np.testing.assert_array_equal(y, a.T)


def test_results_are_written_in_place_for_any_batch(driver: Driver, blob: bytes) -> None:
    loaded = load(driver, blob)
    for batch in (1, 5, 2):
        d = np.linspace(-1, 1, batch * 8, dtype=np.float32).reshape(batch, 8)
        z, y = np.full((batch, 3), np.nan, np.float32), np.full((batch, 3), np.nan, np.float32)
        call = loaded.prepare([ref(d)], [ref(z), ref(y)])
        call()
        g = d @ WEIGHT.T + BIAS
        np.testing.assert_allclose(z, np.maximum(g, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y, softmax(g), rtol=1e-5, atol=1e-6)
        d[:] = 0
        call()
        np.testing.assert_allclose(z, np.tile(BIAS, (batch, 1)), rtol=1e-6)
        call.close()
        call.close()
    loaded.close()
    loaded.close()


def test_two_prepared_calls_do_not_disturb_each_other(driver: Driver, blob: bytes) -> None:
    loaded = load(driver, blob)
    arrays = [[np.full((1, 8), value, np.float32), np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)] for value in (0, 1)]
    calls = [loaded.prepare([ref(d)], [ref(z), ref(y)]) for d, z, y in arrays]
    for call in calls:
        call()
    np.testing.assert_allclose(arrays[0][1][0], BIAS, rtol=1e-6)
    np.testing.assert_allclose(arrays[1][1][0], WEIGHT.sum(1) + BIAS, rtol=1e-6)


def test_float32_stays_float32_even_where_the_cpu_has_bfloat16(driver: Driver) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((256, 256)).astype(np.float32)
    model = small_model([node("MatMul", "a w", "y")], {"a": ("float32", [64, 256])}, {"y": ("float32", [64, 256])}, {"w": weight})
    a, y = rng.standard_normal((64, 256)).astype(np.float32), np.zeros((64, 256), np.float32)
    load(driver, VENDOR.compile(model.SerializeToString(), {})).prepare([ref(a)], [ref(y)])()
    # bfloat16 has 8 bits of mantissa: an error of 1e-2 and more here
    np.testing.assert_allclose(y, a.astype(np.float64) @ weight.astype(np.float64), rtol=0, atol=2e-4)


def test_another_precision_is_recorded_when_asked_for() -> None:
    made = VENDOR.compile(two_outputs().SerializeToString(), {"INFERENCE_PRECISION_HINT": "bf16"})
    assert VENDOR.read_signature(made, {}).versions["precision"] == "bf16"


def test_the_same_model_gives_the_same_bytes(blob: bytes) -> None:
    assert VENDOR.compile(two_outputs().SerializeToString(), {}) == blob


def test_memory_is_the_hosts_and_aligned(driver: Driver) -> None:
    addresses = [driver.allocate(nbytes) for nbytes in (1, 100, 4096)]
    assert all(address % 64 == 0 for address in addresses)
    source, result = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    driver.copy_in(addresses[1], source.ctypes.data, 100)
    driver.copy_out(result.ctypes.data, addresses[1], 100)
    np.testing.assert_array_equal(result, source)
    for address in addresses:
        driver.free(address)


def test_an_empty_batch_is_run(driver: Driver, blob: bytes) -> None:
    empty = [np.zeros((0, columns), np.float32) for columns in (8, 3, 3)]
    load(driver, blob).prepare([ref(empty[0])], [ref(empty[1]), ref(empty[2])])()


def test_a_wrong_shape_or_type_is_refused_before_the_run(driver: Driver, blob: bytes) -> None:
    loaded = load(driver, blob)
    z, y = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    with pytest.raises(InputError, match=r"input 'd': float32 \[1, 7\], expected float32 \[n, 8\]"):
        loaded.prepare([ref(np.zeros((1, 7), np.float32))], [ref(z), ref(y)])
    with pytest.raises(InputError, match=r"input 'd': float64 \[1, 8\], expected float32 \[n, 8\]"):
        loaded.prepare([ref(np.zeros((1, 8), np.float64))], [ref(z), ref(y)])


def test_a_result_of_another_shape_than_planned_is_an_error(driver: Driver, blob: bytes) -> None:
    d, z, y = np.zeros((2, 8), np.float32), np.zeros((4, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(DeviceError, match=r"output 'z' came out as \[2, 3\], expected \[4, 3\]"):
        load(driver, blob).prepare([ref(d)], [ref(z), ref(y)])()
    with pytest.raises(DeviceError, match="OpenVINO failed"):
        load(driver, blob).prepare([ref(d)], [ref(z[:1]), ref(y)])()


def test_another_version_is_refused_with_both(driver: Driver, blob: bytes) -> None:
    installed = VENDOR.read_signature(blob, {}).versions["openvino"]
    other = blob.replace(f"ov={installed}".encode(), b"ov=" + b"1" * len(installed), 1)
    with pytest.raises(DeviceError) as caught:
        load(driver, other)
    assert (
        str(caught.value).splitlines()[0]
        == f"openvino0: the blob was exported by OpenVINO {'1' * len(installed)}, installed is {installed}"
    )
    assert f"pip install openvino=={'1' * len(installed)}" in caught.value.hint


def test_another_cpu_is_refused_with_both(driver: Driver, blob: bytes) -> None:
    isa = VENDOR.read_signature(blob, {}).versions["isa"]
    other = blob.replace(f"isa={isa}".encode(), b"isa=" + b"Z" * len(isa), 1)
    with pytest.raises(DeviceError) as caught:
        load(driver, other)
    assert caught.value.message == f"the blob was exported on a CPU with {'Z' * len(isa)}; this one has {isa}"


def test_a_signature_that_is_not_the_blobs_is_refused(driver: Driver, blob: bytes) -> None:
    signature = VENDOR.read_signature(blob, {})
    wrong = Signature(inputs=(Port("d", "float16", ("n", 8)),), outputs=signature.outputs)
    with pytest.raises(DeviceError, match="its signature says"):
        driver.load(blob, wrong, {})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(0)
    assert caught.value.hint == "pip install landbridge[openvino]"


def test_there_is_one_device_and_no_simulator() -> None:
    with pytest.raises(DeviceError, match="openvino1: there is no such device; OpenVINO devices here: openvino0"):
        VENDOR.open(1)
    with pytest.raises(UnsupportedError, match="no simulator"):
        VENDOR.open(0, simulate=True)


def test_truncated_anywhere_is_a_signature_error(blob: bytes) -> None:
    for length in [*range(0, 200), *range(200, len(blob), 97), len(blob) - 1]:
        with pytest.raises(SignatureError):
            VENDOR.read_signature(blob[:length], {})


def test_flipped_bytes_never_raise_anything_else(blob: bytes) -> None:
    rng = np.random.default_rng(1)
    for position in range(len(blob)):
        flipped = bytearray(blob)
        flipped[position] ^= 1 << int(rng.integers(0, 8))
        with contextlib.suppress(SignatureError):
            VENDOR.read_signature(bytes(flipped), {})


def test_an_unknown_layout_is_named(blob: bytes) -> None:
    with pytest.raises(SignatureError, match="blob layout 2, expected 1"):
        VENDOR.read_signature(blob[:8] + struct.pack("<I", 2) + blob[12:], {})


def test_the_older_form_is_recognised_and_refused() -> None:
    custom = b'<?xml version="1.0"?>\n<cnndata />\n'
    old = struct.pack("<6Q", 48, len(custom), 48 + len(custom), 0, 48 + len(custom), 4) + custom + b"abcd"
    assert VENDOR.recognises(old)
    with pytest.raises(SignatureError, match="OpenVINO 2025 or older"):
        VENDOR.read_signature(old, {})
    assert not VENDOR.recognises(struct.pack("<6Q", 48, 1, 48, 0, 49, 4) + custom)


def test_other_bytes_are_not_recognised() -> None:
    for other in (b"", b"IMOD" + bytes(300), b"PK\x03\x04" + bytes(300), two_outputs().SerializeToString()):
        assert not VENDOR.recognises(other)
    with pytest.raises(SignatureError, match="not a blob exported by OpenVINO"):
        VENDOR.read_signature(b"IMOD" + bytes(300), {})


def test_what_openvino_cannot_compile_is_unsupported() -> None:
    model = two_outputs()
    model.graph.node[2].op_type = "NoSuchOperator"
    with pytest.raises(UnsupportedError, match="NoSuchOperator"):
        VENDOR.compile(model.SerializeToString(), {})
    with pytest.raises(ModelError, match="not a serialised ONNX model"):
        VENDOR.compile(b"garbage", {})
