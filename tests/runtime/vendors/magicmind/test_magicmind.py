"""MagicMind models through the vendor's Python package, for which a double stands in that has the calls of public code only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landbridge.runtime.driver import Driver, TensorRef
from landbridge.runtime.errors import DeviceError, InputError, PlanError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.magicmind import MagicMindVendor
from support.magicmind_double import Model, Status, installed, make_magicmind
from support.small_onnx import node, small_model

VENDOR = MagicMindVendor()


def subtraction(*shape: int | str) -> Any:
    """a - b, and |a|: inputs and outputs that are not to be confused."""
    return small_model(
        [node("Sub", "a b", "d"), node("Abs", "a", "m")],
        {"a": ("float32", shape), "b": ("float32", shape)},
        {"d": ("float32", shape), "m": ("float32", shape)},
    )


BLOB = make_magicmind(subtraction(2, 3))
A, B = np.arange(6, dtype="float32").reshape(2, 3) - 3, np.ones((2, 3), "float32")


@pytest.fixture
def package() -> Iterator[Any]:
    with installed() as found:
        yield found


@pytest.fixture
def driver(package: Any) -> Iterator[Driver]:
    found = VENDOR.open(1)
    yield found
    found.close()


def put(driver: Driver, array: NDArray[Any]) -> TensorRef:
    ref = TensorRef(driver.allocate(array.nbytes), array.nbytes, array.dtype.name, array.shape)
    driver.copy_in(ref.address, array.ctypes.data, array.nbytes)
    return ref


def get(driver: Driver, ref: TensorRef) -> NDArray[Any]:
    array = np.empty(ref.shape, ref.dtype)
    driver.copy_out(array.ctypes.data, ref.address, array.nbytes)
    return array


def test_the_package_tells_the_signature(package: Any) -> None:
    signature = VENDOR.read_signature(BLOB, {})
    assert signature.inputs == (Port("a", "float32", (2, 3)), Port("b", "float32", (2, 3)))
    assert signature.outputs == (Port("d", "float32", (2, 3)), Port("m", "float32", (2, 3)))
    assert signature.origin == {"inputs": "device", "outputs": "device"}


def test_open_dimensions_have_names(package: Any) -> None:
    assert VENDOR.read_signature(make_magicmind(subtraction("n", 3)), {}).outputs[1].shape == ("batch", 3)
    with pytest.raises(SignatureError) as caught:
        VENDOR.read_signature(make_magicmind(subtraction("n", "k")), {})
    assert str(caught.value) == (
        "MagicMind model: the model does not tell what dimension 1 of output 'd' becomes\n"
        "  hint: give signature=lb.Signature(...), or a sidecar, in which that dimension has the name of one of the inputs'"
    )


def test_a_type_that_no_tensor_here_can_have(package: Any) -> None:
    model = small_model([node("Abs", "x", "y")], {"x": ("float64", (2,))}, {"y": ("float64", (2,))})
    with pytest.raises(SignatureError, match=r"'x' has the type DataType.FLOAT64, which no tensor here can have"):
        VENDOR.read_signature(make_magicmind(model), {})


def test_other_bytes_are_refused_in_the_vendor_s_words(package: Any) -> None:
    with pytest.raises(SignatureError, match="reading the model failed: not a model, or one of another version"):
        VENDOR.read_signature(b"other bytes", {})


def test_without_the_package_it_says_how_to_tell() -> None:
    with pytest.raises(SignatureError) as caught:
        VENDOR.read_signature(BLOB, {})
    assert str(caught.value) == (
        "MagicMind model: the format does not tell what the model expects, and the package magicmind, which would, is not installed "
        "here\n"
        "  hint: put a sidecar FILE.sig.json beside it: `landbridge capture FILE` writes one where the package is (a card is not "
        "needed); or give signature=lb.Signature(...)"
    )


def test_a_call_computes_and_again(driver: Driver) -> None:
    model = driver.load(BLOB, VENDOR.read_signature(BLOB, {}), {})
    a, b, d, m = put(driver, A), put(driver, B), put(driver, B), put(driver, B)
    call = model.prepare([a, b], [d, m])
    for scale in (1, 3):
        changed = A * np.float32(scale)
        driver.copy_in(a.address, changed.ctypes.data, changed.nbytes)
        call()
        assert (get(driver, d) == changed - B).all()
        assert (get(driver, m) == np.abs(changed)).all()
    call.close()
    with pytest.raises(PlanError, match="a call was used after it was closed"):
        call()
    model.close()


def test_inputs_and_outputs_are_found_by_name(driver: Driver) -> None:
    signature = VENDOR.read_signature(BLOB, {})
    turned = replace(signature, inputs=signature.inputs[::-1], outputs=signature.outputs[::-1])
    a, b, d, m = put(driver, A), put(driver, B), put(driver, B), put(driver, B)
    driver.load(BLOB, turned, {}).prepare([b, a], [m, d])()
    assert (get(driver, d) == A - B).all()
    assert (get(driver, m) == np.abs(A)).all()


def test_without_names_the_order_counts(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    named = VENDOR.read_signature(BLOB, {})
    monkeypatch.delattr(Model, "get_output_names")
    assert [port.name for port in VENDOR.read_signature(BLOB, {}).outputs] == ["output0", "output1"]
    a, b, d, m = put(driver, A), put(driver, B), put(driver, B), put(driver, B)
    monkeypatch.setattr("support.magicmind_double.Context._run", _run_by_position)
    driver.load(BLOB, named, {}).prepare([a, b], [d, m])()
    assert (get(driver, m) == np.abs(A)).all()


def _run_by_position(self: Any, inputs: Any, outputs: Any) -> None:
    for tensor, result in zip(outputs, (inputs[0].array - inputs[1].array, np.abs(inputs[0].array)), strict=True):
        tensor.array = result


def test_a_call_works_on_any_thread(driver: Driver) -> None:
    model = driver.load(BLOB, VENDOR.read_signature(BLOB, {}), {})
    a, b, d, m = put(driver, A), put(driver, B), put(driver, B), put(driver, B)
    call = model.prepare([a, b], [d, m])
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (get(driver, d) == A - B).all()


def test_the_model_must_be_what_the_signature_says(driver: Driver) -> None:
    signature = VENDOR.read_signature(BLOB, {})
    a, b = signature.inputs
    cases = {
        "the model has 2 inputs, its signature 1\n  hint: capture the signature again from this model, and compile the artifact again": (
            a,
        ),
        "the model has no input 'c'\n  hint: there are: a, b": (a, replace(b, name="c")),
        "input 'a' is float32 [2, 3] on the device, its signature says float16 [2, 3]\n"
        "  hint: capture the signature again from this model, and compile the artifact again": (replace(a, dtype="float16"), b),
        "input 'b' is float32 [2, 3] on the device, its signature says float32 [n, 3]\n"
        "  hint: capture the signature again from this model, and compile the artifact again": (a, replace(b, shape=("n", 3))),
    }
    for words, inputs in cases.items():
        with pytest.raises(DeviceError) as caught:
            driver.load(BLOB, replace(signature, inputs=inputs), {})
        assert str(caught.value) == f"cambricon1: {words}"


def test_arguments_and_results_of_another_shape(driver: Driver) -> None:
    model = small_model([node("NonZero", "x", "i"), node("Cast", "i", "y", to=6)], {"x": ("float32", (4,))}, {"y": ("int32", (1, None))})
    signature = Signature((Port("x", "float32", (4,)),), (Port("y", "int32", (1, 4)),))
    loaded = driver.load(make_magicmind(model), signature, {})
    x, y = put(driver, np.array([1, 0, 2, 0], "float32")), put(driver, np.zeros((1, 4), "int32"))
    with pytest.raises(InputError, match=r"input 'x': float32 \[2\], expected float32 \[4\]"):
        loaded.prepare([replace(x, shape=(2,))], [y])
    with pytest.raises(DeviceError, match=r"output 'y' came out as int32 \[1, 2\], expected int32 \[1, 4\]"):
        loaded.prepare([x], [y])()


def test_failures_are_told_in_the_vendor_s_words(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = VENDOR.read_signature(BLOB, {})
    model = driver.load(BLOB, signature, {})
    a, b, d, m = put(driver, A), put(driver, B), put(driver, B), put(driver, B)
    call = model.prepare([a, b], [d, m])
    monkeypatch.setattr("support.magicmind_double.Queue.sync", lambda self: Status("the card fell off the bus"))
    with pytest.raises(DeviceError) as caught:
        call()
    assert str(caught.value) == "cambricon1: waiting for the model failed: the card fell off the bus"
    assert caught.value.vendor_text == "the card fell off the bus"
    monkeypatch.setattr(Model, "create_i_engine", lambda self, config: Status("no licence"))
    with pytest.raises(DeviceError, match="cambricon1: creating an engine failed: no licence"):
        driver.load(BLOB, signature, {})
    monkeypatch.setattr(Model, "create_i_engine", lambda self, config: None)
    with pytest.raises(DeviceError, match=r"cambricon1: creating an engine failed\n  code: "):
        driver.load(BLOB, signature, {})


def test_what_is_missing(package: Any) -> None:
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(2)
    assert str(caught.value) == (
        "cambricon2: there is no such device; Cambricon devices here: cambricon0, cambricon1\n  hint: name one of them"
    )
    with pytest.raises(UnsupportedError, match="magicmind has no simulator"):
        VENDOR.open(0, simulate=True)


def test_without_the_package_it_says_what_to_install() -> None:
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(0)
    assert str(caught.value) == (
        "cambricon0: the Python package magicmind.python.runtime is missing or cannot be loaded\n"
        "  hint: install MagicMind's Python wheel from the Cambricon SDK of your card (it is not on PyPI), and set NEUWARE_HOME"
    )
    assert "magicmind" in caught.value.vendor_text
