from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.vendors.tensorrt import cuda
from landbridge.runtime.vendors.tensorrt.cuda import Cuda
from support.cuda_double import CudaDouble, use


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    return use(monkeypatch)


@pytest.fixture
def gpu(double: CudaDouble) -> Iterator[Cuda]:
    opened = Cuda(0, "gpu0")
    yield opened
    opened.close()
    assert double.live() == 0


def test_facts(gpu: Cuda) -> None:
    assert (gpu.name, gpu.capability, gpu.driver_version) == ("Double GPU", "8.6", "12.4")


def test_bytes_go_there_and_back(gpu: Cuda) -> None:
    there, back = np.arange(1000, dtype=np.int32), np.zeros(1000, np.int32)
    address = gpu.allocate(there.nbytes)
    assert address % 256 == 0
    gpu.copy_in(address, there.ctypes.data, there.nbytes)
    gpu.copy_out(back.ctypes.data, address, back.nbytes)
    np.testing.assert_array_equal(back, there)
    gpu.copy_in(address, 0, 0)
    gpu.free(address)


@pytest.mark.misuse  # the last line
def test_pinned_memory_of_the_host(gpu: Cuda, double: CudaDouble) -> None:
    before = double.live()
    host, device = gpu.allocate_host(100), gpu.allocate(100)
    assert host % 64 == 0
    ctypes.memset(host, 7, 100)
    gpu.copy_in(device, host, 100)
    ctypes.memset(host, 0, 100)
    gpu.copy_out(host, device, 100)
    assert ctypes.string_at(host, 100) == b"\7" * 100
    gpu.free(device)
    gpu.free_host(host)
    assert double.live() == before
    with pytest.raises(DeviceError):
        gpu.free_host(host)


def test_copies_do_not_wait_for_a_model(gpu: Cuda) -> None:
    """What waits on the stream of models is not done by a copy."""
    source, target, out = gpu.allocate(64), gpu.allocate(64), np.zeros(64, np.uint8)
    gpu.copy_in(source, np.full(64, 5, np.uint8).ctypes.data, 64)
    gpu.copy_in(target, out.ctypes.data, 64)
    gpu.enqueue_copy(target, source, 64)
    gpu.copy_out(out.ctypes.data, target, 64)
    assert not out.any()
    gpu.synchronize()
    gpu.copy_out(out.ctypes.data, target, 64)
    assert (out == 5).all()
    for address in (source, target):
        gpu.free(address)


def test_copies_on_the_gpu_wait_for_the_stream(gpu: Cuda) -> None:
    data = np.arange(16, dtype=np.uint8)
    first, second = gpu.allocate(16), gpu.allocate(16)
    gpu.copy_in(first, data.ctypes.data, 16)
    gpu.bind()
    gpu.enqueue_copy(second, first, 16)
    gpu.synchronize()
    back = np.zeros(16, np.uint8)
    gpu.copy_out(back.ctypes.data, second, 16)
    np.testing.assert_array_equal(back, data)
    gpu.free(first)
    gpu.free(second)


def test_any_thread_may_call(gpu: Cuda) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(gpu.allocate(64)))
    thread.start()
    thread.join()
    gpu.free(found[0])


def test_no_room_says_what_is_free(gpu: Cuda, double: CudaDouble) -> None:
    double.budget(1000)
    with pytest.raises(DeviceError) as caught:
        gpu.allocate(4096)
    assert (
        str(caught.value) == "gpu0: no room for 4096 bytes, 1000 are free\n  hint: use a smaller batch, or close other programs on this GPU"
    )
    assert (caught.value.vendor_code, caught.value.vendor_text) == (2, "out of memory")


@pytest.mark.misuse
def test_failures_have_the_drivers_words(gpu: Cuda, double: CudaDouble) -> None:
    double.fail("cuMemAlloc_v2", 999)
    with pytest.raises(DeviceError, match=r"^gpu0: cuMemAlloc_v2 failed with 999 \(CUDA_ERROR_UNKNOWN\)\n  code: "):
        gpu.allocate(64)
    with pytest.raises(DeviceError, match=r"^gpu0: cuMemFree_v2 failed with 1 "):
        gpu.free(12345)


@pytest.mark.parametrize(("code", "lost"), [(700, True), (719, True), (214, True), (999, False), (1, False)])
def test_what_every_later_call_gets_too_is_the_loss_of_the_gpu(gpu: Cuda, double: CudaDouble, code: int, lost: bool) -> None:
    double.fail("cuCtxSetCurrent", code)
    with pytest.raises(DeviceError) as caught:
        gpu.bind()
    assert isinstance(caught.value, DeviceLost) == lost
    assert caught.value.vendor_code == code
    gpu.bind()


def test_a_closed_gpu_refuses(double: CudaDouble) -> None:
    gpu = Cuda(0, "gpu0")
    gpu.close()
    gpu.close()
    with pytest.raises(DeviceError, match=r"^gpu0: the device was closed before this call\n  code: "):
        gpu.allocate(64)
    assert double.live() == 0


@pytest.mark.parametrize(
    "function", ["cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate"]
)
def test_what_fails_while_it_opens_leaves_nothing(double: CudaDouble, function: str) -> None:
    double.fail(function, 999)
    with pytest.raises(DeviceError, match=f"gpu0: {function} failed with 999"):
        Cuda(0, "gpu0")
    assert double.live() == 0


def test_a_gpu_that_there_is_not(double: CudaDouble) -> None:
    with pytest.raises(
        DeviceError,
        match=r"^gpu2: there is no such device; NVIDIA GPUs here: gpu0, gpu1\n  hint: name one of them; see nvidia-smi\n  code: ",
    ):
        Cuda(2, "gpu2")


def test_no_driver_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARIES", ("libcuda-that-there-is-not.so.1",))
    with pytest.raises(DeviceError) as caught:
        Cuda(0, "gpu0")
    assert str(caught.value) == (
        "gpu0: NVIDIA's driver is missing: there is no libcuda.so.1\n"
        "  hint: install the NVIDIA driver; in a container, start it with --gpus all"
    )
    assert "libcuda-that-there-is-not.so.1" in caught.value.vendor_text


def test_a_library_without_a_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARIES", ("libm.so.6",))
    with pytest.raises(DeviceError, match=r"^gpu0: NVIDIA's driver library libm\.so\.6 has no function cuInit\n  hint: install a newer"):
        Cuda(0, "gpu0")


@pytest.mark.misuse
def test_the_double_detects_misuse(gpu: Cuda, double: CudaDouble) -> None:
    library, address = double.library, gpu.allocate(64)
    stream, out = ctypes.c_void_p(gpu.stream), np.zeros(64, np.uint8)
    to = ctypes.c_void_p(out.ctypes.data)
    assert library.cuMemcpyDtoHAsync_v2(to, ctypes.c_uint64(address + 1), ctypes.c_size_t(64), stream) == 1  # beyond its end
    assert library.cuMemcpyDtoHAsync_v2(to, ctypes.c_uint64(address), ctypes.c_size_t(64), ctypes.c_void_p(1)) == 1  # no stream of it
    assert library.cuMemcpyDtoHAsync_v2(to, ctypes.c_uint64(address), ctypes.c_size_t(64), stream) == 0
    assert not out.any()  # not yet: nobody has waited
    gpu.synchronize()
    assert (out == 0xA5).all()
    gpu.free(address)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(library.cuMemFree_v2(ctypes.c_uint64(address))))  # a thread without a context
    thread.start()
    thread.join()
    assert codes == [201]
    with pytest.raises(DeviceError, match="cuMemFree_v2 failed with 1"):
        gpu.free(address)  # for the second time
