from __future__ import annotations

from collections.abc import Mapping

import pytest

from landbridge.runtime.capture import capture
from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from support.toy_vendor import ToyVendor, signature, toy_blob, toy_vendors


class SilentVendor(ToyVendor):
    """One whose format does not tell: its device does."""

    tells_signature = False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        raise SignatureError("the format does not tell")

    def capture(self, data: bytes, options: Mapping[str, str], driver: Driver | None) -> Signature:
        return signature((2, 2)) if driver is not None else self.read_signature(data, options)


def test_a_device_loads_the_blob_and_its_versions_are_told() -> None:
    with toy_vendors() as vendors:
        found = capture(vendors["toy"], toy_blob("double"), {}, ordinal=3)
        assert found.signature == signature((4, 3))
        assert found.unchecked is None
        assert vendors["toy"].drivers[0].at == "toy3"
        assert vendors["toy"].drivers[0].closed


def test_a_simulator_is_labelled() -> None:
    with toy_vendors() as vendors:
        assert capture(vendors["toy"], toy_blob("double"), {}, simulate=True).captured_with == {"simulated": "yes"}


def test_a_blob_that_the_device_refuses_is_not_captured() -> None:
    with toy_vendors() as vendors:
        with pytest.raises(DeviceError, match="this blob is for another toy"):
            capture(vendors["toy"], toy_blob("refuse"), {})
        assert vendors["toy"].drivers[0].closed


def test_without_a_device_what_the_blob_tells_is_captured_and_said_to_be_unchecked() -> None:
    with toy_vendors() as vendors:
        vendors["toy"].missing = True
        found = capture(vendors["toy"], toy_blob("double"), {})
        assert found.signature == signature((4, 3))
        assert found.captured_with == {}
        assert str(found.unchecked) == "no toy here\n  hint: install toy"


def test_without_a_device_a_format_that_does_not_tell_needs_one() -> None:
    vendor = SilentVendor()
    assert capture(vendor, toy_blob("double"), {}).signature == signature((2, 2))
    vendor.missing = True
    with pytest.raises(DeviceError, match="no toy here"):
        capture(vendor, toy_blob("double"), {})


def test_a_damaged_blob_is_said_to_be_damaged_with_or_without_a_device() -> None:
    with pytest.raises(SignatureError, match="the file has 44 bytes, less than the header's 256"):
        capture(registry.vendor("atlas"), b"IMOD" + bytes(40), {})


def test_a_vendor_without_a_simulator_says_so() -> None:
    with pytest.raises(UnsupportedError, match="openvino has no simulator"):
        capture(registry.vendor("openvino"), b"", {}, simulate=True)
