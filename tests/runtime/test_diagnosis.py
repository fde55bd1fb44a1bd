from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.diagnosis import MAX_DEVICES, find_library, find_package
from landbridge.runtime.driver import Vendor
from landbridge.runtime.errors import DeviceError
from support.toy_vendor import ToyVendor, toy_vendors


@pytest.fixture
def toy() -> Iterator[ToyVendor]:
    with toy_vendors() as vendors:
        yield vendors["toy"]


def limit(vendor: Vendor, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Leave ``vendor`` with so many devices."""
    opened = vendor.open

    def few(ordinal: int, *, simulate: bool = False) -> Any:
        if ordinal >= count:
            raise DeviceError(f"no device {ordinal}", hint="plug one in")
        return opened(ordinal, simulate=simulate)

    monkeypatch.setattr(vendor, "open", few)


def test_devices_are_opened_until_there_are_no_more(toy: ToyVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(toy, monkeypatch, 2)
    found = toy.diagnose()
    assert [(device.name, device.simulated, device.free_nbytes) for device in found.devices] == [
        ("toy0", False, None),
        ("toy1", False, None),
    ]
    assert (found.problem, found.fix) == ("", "")
    assert all(device.simulated for device in toy.diagnose(simulate=True).devices)


def test_without_a_device_the_reason_and_the_fix_are_told(toy: ToyVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(toy, monkeypatch, 0)
    found = toy.diagnose()
    assert (found.devices, found.problem, found.fix) == ((), "no device 0", "plug one in")


def test_a_vendor_of_endless_devices_is_not_asked_for_ever(toy: ToyVendor) -> None:
    assert len(toy.diagnose().devices) == MAX_DEVICES


def test_a_diagnosis_is_plain_data(toy: ToyVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(toy, monkeypatch, 1)
    monkeypatch.setattr(ToyVendor, "packages", ("numpy", "a-package-that-is-not-there"), raising=False)
    found = toy.diagnose().to_json()
    assert [(software["name"], software["version"]) for software in found["software"]] == [("numpy", np.__version__)]
    assert found["devices"][0]["name"] == "toy0"
    assert isinstance(found["devices"][0]["versions"], dict)


def test_libraries_are_looked_for_in_order() -> None:
    found = find_library(["/nowhere/libm.so.6", "libm.so.6", "libc.so.6"])
    assert found is not None
    assert (found.name, found.path.startswith("/"), "libm" in found.path) == ("libm.so.6", True, True)
    assert find_library(["/nowhere/libm.so.6", "libnothing-of-that-name.so"]) is None
    assert find_library([]) is None
    assert find_package("a-package-that-is-not-there") is None
