from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, InputError, UnsupportedError, UsageError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from support.host_calls import call, ref
from support.tflite_models import dense, require_litert, tflite


@pytest.fixture
def driver() -> Iterator[Driver]:
    require_litert()
    opened = registry.vendor("litert").open(0)
    yield opened
    opened.close()


def signature_of(blob: bytes) -> Signature:
    return registry.vendor("litert").read_signature(blob, {})


def test_it_computes(driver: Driver) -> None:
    blob = dense(np.arange(24).reshape(3, 8), {"x": [2, 8]}, ("y", [2, 3]))
    model = driver.load(blob, signature_of(blob), {})
    x = np.random.default_rng(0).standard_normal((2, 8), np.float32)
    (y,) = call(model, [x], [np.empty((2, 3), np.float32)])
    np.testing.assert_allclose(y, x @ np.arange(24, dtype=np.float32).reshape(3, 8).T, rtol=1e-5, atol=1e-4)  # sums of 8 products
    model.close()


def test_each_call_has_its_own_extents(driver: Driver) -> None:
    blob = tflite("ADD", {"a": [-1, 4], "b": [-1, 4]}, ("sum", [-1, 4]))
    model = driver.load(blob, signature_of(blob), {"threads": "1"})
    arrays = {n: [np.full((n, 4), n, np.float32), np.ones((n, 4), np.float32), np.zeros((n, 4), np.float32)] for n in (3, 1, 5)}
    calls = {n: model.prepare([ref(a), ref(b)], [ref(c)]) for n, (a, b, c) in arrays.items()}
    for n in (1, 5, 3, 1):
        arrays[n][2][:] = 0
        calls[n]()
        np.testing.assert_array_equal(arrays[n][2], np.full((n, 4), n + 1))
    for prepared in calls.values():
        prepared.close()


@pytest.mark.parametrize("dtype", ["float16", "int32", "int64", "bool", "int8", "uint8", "int16"])
def test_every_type_passes_unchanged(driver: Driver, dtype: str) -> None:
    blob = tflite("CAST", {"x": [6]}, ("y", [6]), dtype=dtype, output_dtype="float32")
    x = np.array([0, 1, 1, 0, 1, 1]).astype(dtype)
    (y,) = call(driver.load(blob, signature_of(blob), {}), [x], [np.empty(6, np.float32)])
    np.testing.assert_array_equal(y, [0, 1, 1, 0, 1, 1])


def test_an_empty_batch_gives_an_empty_result(driver: Driver) -> None:
    blob = tflite("ADD", {"a": [-1, 4], "b": [-1, 4]}, ("sum", [-1, 4]))
    empty = np.empty((0, 4), np.float32)
    assert call(driver.load(blob, signature_of(blob), {}), [empty, empty], [empty])[0].shape == (0, 4)


def test_extents_that_the_model_does_not_take_are_refused(driver: Driver) -> None:
    blob = tflite("ADD", {"a": [-1, 4], "b": [-1, 4]}, ("sum", [-1, 4]))
    model = driver.load(blob, signature_of(blob), {})
    good, bad = np.ones((2, 4), np.float32), np.ones((2, 5), np.float32)
    with pytest.raises(InputError, match=r"^litert0: input 'b': float32 \[2, 5\], expected float32 \[batch, 4\]\n  code: "):
        model.prepare([ref(good), ref(bad)], [ref(good)])
    with pytest.raises(DeviceError, match=r"^litert0: LiteRT refused the inputs 'a' \[2, 4\], 'b' \[3, 4\]: "):
        model.prepare([ref(good), ref(np.ones((3, 4), np.float32))], [ref(good)])


def test_a_result_of_another_shape_is_refused(driver: Driver) -> None:
    blob = tflite("ADD", {"a": [-1, 4], "b": [-1, 4]}, ("sum", [-1, 4]))
    model = driver.load(blob, signature_of(blob), {})
    two, three = np.ones((2, 4), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(DeviceError, match=r"^litert0: output 'sum' came out as \[2, 4\], expected \[3, 4\]\n  code: "):
        call(model, [two, two], [three])


def test_a_signature_that_is_not_the_models_is_refused(driver: Driver) -> None:
    blob = tflite("RELU", {"x": [2, 4]}, ("y", [2, 4]))
    wrong = Signature((Port("x", "float16", (2, 4)),), signature_of(blob).outputs)
    with pytest.raises(
        DeviceError, match=r"the model's inputs are \[\('float32', \[2, 4\]\)\], its signature says \[\('float16', \[2, 4\]\)\]"
    ):
        driver.load(blob, wrong, {})


def test_what_litert_refuses_is_said_in_its_words(driver: Driver) -> None:
    blob = tflite("RELU", {"x": [2, 4]}, ("y", [2, 4]))
    with pytest.raises(
        DeviceError, match=r"litert0: LiteRT refused the model: The model is not a valid Flatbuffer buffer\n  hint: convert"
    ):
        driver.load(blob[:-40], signature_of(blob), {})


def test_the_option_threads_is_a_number(driver: Driver) -> None:
    blob = tflite("RELU", {"x": [2, 4]}, ("y", [2, 4]))
    with pytest.raises(UsageError, match=r"^litert0: option 'threads' is 'many', expected a positive number\n  code: "):
        driver.load(blob, signature_of(blob), {"threads": "many"})


def test_versions_name_the_package(driver: Driver) -> None:
    assert driver.versions["litert"].count(".") >= 1
    assert not driver.simulated


def test_there_is_one_device_and_no_simulator() -> None:
    with pytest.raises(DeviceError, match="litert1: there is no such device; LiteRT devices here: litert0"):
        registry.vendor("litert").open(1)
    with pytest.raises(UnsupportedError, match="litert has no simulator"):
        registry.vendor("litert").open(0, simulate=True)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(
        DeviceError, match=r"^litert0: the Python package ai-edge-litert is missing .*\n  hint: pip install landbridge\[litert\]\n  code: "
    ):
        registry.vendor("litert").open(0)
