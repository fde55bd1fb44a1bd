from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, InputError, UnsupportedError, UsageError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from support.host_calls import call, ref
from support.iree_modules import add, identity, require_iree, vmfb

NUMPY = {"i1": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "f16": "float16"}


@pytest.fixture
def driver() -> Iterator[Driver]:
    require_iree()
    opened = registry.vendor("iree").open(0)
    yield opened
    opened.close()


def signature_of(blob: bytes) -> Signature:
    return registry.vendor("iree").read_signature(blob, {})


@pytest.mark.parametrize("target", ["llvm-cpu", "vmvx"])
@pytest.mark.parametrize("how", ["local-sync", "local-task"])
def test_it_computes(driver: Driver, target: str, how: str) -> None:
    blob = vmfb(add(), target=target)
    model = driver.load(blob, signature_of(blob), {"driver": how})
    x = np.arange(24, dtype=np.float32).reshape(3, 8)
    (y,) = call(model, [x, x + 1], [np.empty((3, 8), np.float32)])
    np.testing.assert_array_equal(y, 2 * x + 1)
    model.close()


def test_a_call_reads_its_inputs_anew_each_time(driver: Driver) -> None:
    blob = vmfb(add())
    x, y = np.ones((2, 8), np.float32), np.zeros((2, 8), np.float32)
    prepared = driver.load(blob, signature_of(blob), {}).prepare([ref(x), ref(x)], [ref(y)])
    prepared()
    x[:] = 5
    prepared()
    np.testing.assert_array_equal(y, np.full((2, 8), 10))
    prepared.close()


@pytest.mark.parametrize("mlir", NUMPY)
def test_every_type_passes_unchanged(driver: Driver, mlir: str) -> None:
    blob = vmfb(identity(mlir))
    x = np.array([0, 1, 1, 0, 1, 1]).astype(NUMPY[mlir])
    (y,) = call(driver.load(blob, signature_of(blob), {}), [x], [np.zeros_like(x)])
    np.testing.assert_array_equal(y, x)


def test_the_caller_may_say_that_integers_are_unsigned(driver: Driver) -> None:
    blob = vmfb(identity("ui8"))
    told = signature_of(blob)
    assert told.inputs[0].dtype == "int8"
    unsigned = Signature((Port("x", "uint8", (6,)),), (Port("y", "uint8", (6,)),))
    x = np.array([0, 1, 127, 128, 254, 255], np.uint8)
    (y,) = call(driver.load(blob, unsigned, {}), [x], [np.zeros_like(x)])
    np.testing.assert_array_equal(y, x)


def test_bfloat16_passes_as_its_bits(driver: Driver) -> None:
    blob = vmfb(add(shape="4", dtype="bf16"))
    x, y = np.array([0x3F80, 0x4000, 0, 0xBF80], np.uint16), np.zeros(4, np.uint16)  # 1, 2, 0, -1
    prepared = driver.load(blob, signature_of(blob), {}).prepare([ref(x, "bfloat16")] * 2, [ref(y, "bfloat16")])
    prepared()
    assert [hex(bits) for bits in y] == ["0x4000", "0x4080", "0x0", "0xc000"]  # 2, 4, 0, -2


def test_an_empty_batch_gives_an_empty_result(driver: Driver) -> None:
    blob = vmfb(add())
    empty = np.empty((0, 8), np.float32)
    assert call(driver.load(blob, signature_of(blob), {}), [empty, empty], [empty])[0].shape == (0, 8)


def test_any_thread_may_call(driver: Driver) -> None:
    blob = vmfb(add())
    model = driver.load(blob, signature_of(blob), {})
    x, y = np.ones((2, 8), np.float32), np.zeros((2, 8), np.float32)
    thread = threading.Thread(target=lambda: call(model, [x, x], [y]))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(y, np.full((2, 8), 2))


def test_extents_that_the_function_does_not_take_are_refused(driver: Driver) -> None:
    blob = vmfb(add())
    model = driver.load(blob, signature_of(blob), {})
    good, bad = np.ones((2, 8), np.float32), np.ones((2, 9), np.float32)
    with pytest.raises(InputError, match=r"^iree0: input 'input1': float32 \[2, 9\], expected float32 \[batch, 8\]\n  code: "):
        model.prepare([ref(good), ref(bad)], [ref(good)])


def test_a_result_of_another_shape_is_refused(driver: Driver) -> None:
    blob = vmfb(add())
    model = driver.load(blob, signature_of(blob), {})
    two, three = np.ones((2, 8), np.float32), np.ones((3, 8), np.float32)
    with pytest.raises(DeviceError, match=r"^iree0: output 'output0' came out as \[2, 8\], expected \[3, 8\]\n  code: "):
        call(model, [two, two], [three])


def test_a_signature_that_is_not_the_functions_is_refused(driver: Driver) -> None:
    blob = vmfb(identity("f32"))
    wrong = Signature((Port("input0", "float16", (6,)),), signature_of(blob).outputs)
    with pytest.raises(
        DeviceError, match=r"inputs of function 'main' are \[\('float32', \[6\]\)\], its signature says \[\('float16', \[6\]\)\]"
    ):
        driver.load(blob, wrong, {})


def test_what_iree_refuses_is_said_in_its_words(driver: Driver) -> None:
    blob = vmfb(add())
    code = blob.find(b"\x7fELF")
    assert code > 0
    damaged = blob[:code] + bytes(64) + blob[code + 64 :]
    with pytest.raises(DeviceError, match=r"^iree0: IREE refused the module: .*\n  hint: compile it again for this machine\n  code: "):
        driver.load(damaged, signature_of(blob), {})


def test_the_option_driver_is_one_of_two(driver: Driver) -> None:
    blob = vmfb(add())
    with pytest.raises(UsageError, match=r"^iree0: option 'driver' is 'vulkan', expected one of local-sync, local-task\n  code: "):
        driver.load(blob, signature_of(blob), {"driver": "vulkan"})


def test_there_is_one_device_and_no_simulator() -> None:
    with pytest.raises(DeviceError, match="iree1: there is no such device; IREE devices here: iree0"):
        registry.vendor("iree").open(1)
    with pytest.raises(UnsupportedError, match="iree has no simulator"):
        registry.vendor("iree").open(0, simulate=True)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iree.runtime", None)
    with pytest.raises(
        DeviceError, match=r"^iree0: the Python package iree-base-runtime is missing .*\n  hint: pip install landbridge\[iree\]\n  code: "
    ):
        registry.vendor("iree").open(0)
