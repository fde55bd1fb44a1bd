"""The driver keeps the rules of Ascend's interface, and would be seen to break them.

Each rule is put to the test twice: by work that would break it if the driver were careless, after which the simulator has nothing to say
(`strict_simulators` in ``tests/conftest.py`` asks it after every test); and with the driver's care taken away, after which it says which
rule was broken. The rules themselves are broken one by one in ``tests/simulators/ascend/test_misuse.py``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from landbridge.runtime.vendors.atlas.model import AtlasCall, AtlasModel
from support import strict
from support.atlas_device import OnDevice, Simulator
from support.documented_om import documented

VENDOR = AtlasVendor()
ROW_NBYTES = 17 * 14 * 14 * 4


@pytest.fixture
def driver() -> Iterator[AtlasDriver]:
    simulator = Simulator()
    simulator.reset()
    opened = AtlasDriver(0, simulate=True)
    yield opened
    opened.close()
    simulator.reset()


def load(driver: AtlasDriver, name: str = "dynamic") -> AtlasModel:
    blob = documented(name)
    return driver.load(blob, VENDOR.read_signature(blob, {}), {})


def prepared(driver: AtlasDriver, model: AtlasModel, batch: int) -> AtlasCall:
    device = OnDevice(driver)
    x = device.put(np.ones((batch, 3, 16, 16), np.float32))
    return model.prepare([x], [device.empty("float32", (batch, 17, 14, 14), slack_nbytes=7 * ROW_NBYTES)])


def on_threads(count: int, work: Callable[[], Any]) -> None:
    """Do the work on several threads at once; errors of the vendor are what the simulator says anyway."""

    def run() -> None:
        with contextlib.suppress(DeviceError):
            work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def from_any_thread(driver: AtlasDriver) -> None:
    """Allocate, copy, run and free on threads that never heard of the device, with another device's driver in between."""
    call = prepared(driver, load(driver), 6)
    with contextlib.closing(AtlasDriver(1, simulate=True)) as other:

        def work() -> None:
            array = np.ones(8, np.float32)
            for one in (driver, other):
                address = one.allocate(32)
                one.copy_in(address, array.ctypes.data, 32)
                one.copy_out(array.ctypes.data, address, 32)
                one.free(address)
            call()

        on_threads(3, work)


def several_calls_of_one_model(driver: AtlasDriver) -> None:
    """Run one model on several threads, each with its own arguments."""
    model = load(driver)
    calls = [prepared(driver, model, batch) for batch in (8, 20, 6, 8)]

    def work() -> None:
        for _ in range(3):
            calls[threading.get_ident() % len(calls)]()

    on_threads(4, work)


def closing_while_others_run(driver: AtlasDriver) -> None:
    """Close a model, and its memory with it, while calls of it are under way."""
    model = load(driver)
    calls = [prepared(driver, model, 20) for _ in range(2)]

    def work() -> None:
        with contextlib.suppress(Exception):  # a call after the end says that it was closed
            for call in calls:
                call()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    model.close()
    for thread in threads:
        thread.join()


def copies_both_ways(driver: AtlasDriver) -> None:
    """Copy ordinary memory and pinned memory, there and back."""
    array, pinned = np.arange(64, dtype=np.uint8), driver.allocate_host(64)
    address = driver.allocate(64)
    with contextlib.suppress(DeviceError):
        for host in (array.ctypes.data, pinned):
            driver.copy_in(address, host, 64)
            driver.copy_out(host, address, 64)
    driver.free(address)
    driver.free_host(pinned)


def batches_of_every_size(driver: AtlasDriver) -> None:
    """Run launches of one gear and of several."""
    model = load(driver)
    for batch in (1, 3, 8, 20):
        with contextlib.suppress(DeviceError):
            prepared(driver, model, batch)()


class NoLock:
    """A lock that locks nothing."""

    def __enter__(self) -> None:
        """Lock nothing."""

    def __exit__(self, *_: object) -> None:
        """Unlock nothing."""


def without_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AtlasDriver, "bind", lambda self: None)


def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    init = AtlasModel.__init__

    def unlocked(self: AtlasModel, *arguments: Any) -> None:
        init(self, *arguments)
        self.lock = NoLock()  # type: ignore[assignment]  # that is the point

    monkeypatch.setattr(AtlasModel, "__init__", unlocked)
    Simulator().speed("execute", 0.02)


def with_directions_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.copies.HOST_TO_DEVICE", 2)
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.copies.DEVICE_TO_HOST", 1)


def without_gears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AtlasCall, "_set_gear", lambda self, launch: None)


def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.model._output_slice", lambda port, ref, row, most: (ref.address, most - 1))


RULES = [
    pytest.param(from_any_thread, without_context, "aclrtMalloc: ", id="a context on the calling thread"),
    pytest.param(several_calls_of_one_model, without_lock, "aclmdlExecute: one model must not run twice at once", id="one model at a time"),
    pytest.param(closing_while_others_run, without_lock, "acl", id="nothing freed while it is used"),
    pytest.param(copies_both_ways, with_directions_exchanged, "aclrtMemcpy: ", id="the direction of a copy"),
    pytest.param(batches_of_every_size, without_gears, "aclmdlExecute: input 'ascend_mbatch_shape_data' holds no gear", id="a gear first"),
    pytest.param(batches_of_every_size, without_room, "aclmdlExecute: the data buffer of 'conv1:0:conv1'", id="room for the largest gear"),
]


@pytest.mark.parametrize(("work", "_careless", "_says"), RULES)
def test_the_driver_keeps_the_rule(driver: AtlasDriver, work: Callable[[AtlasDriver], None], _careless: Any, _says: str) -> None:
    work(driver)
    assert strict.broken() == []


@pytest.mark.misuse
@pytest.mark.parametrize(("work", "careless", "says"), RULES)
def test_a_careless_driver_is_seen(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[AtlasDriver], None], careless: Callable[[pytest.MonkeyPatch], None], says: str
) -> None:
    simulator = Simulator()
    simulator.reset()
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})  # what a careless driver leaves behind is nobody's
    careless(monkeypatch)
    opened = AtlasDriver(0, simulate=True)
    found: list[str] = []
    for _ in range(10):  # what threads do to each other is a matter of time
        with contextlib.suppress(DeviceError):
            work(opened)
        found = strict.broken()
        if found:
            break
    simulator.reset()
    assert any(text.startswith(f"atlas: {says}") for text in found), found
