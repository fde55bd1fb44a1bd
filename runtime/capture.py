"""Capture the signature of an offline model where the vendor's software is, for machines where it is not.

The blob is loaded on a device as well, so that what is written was seen to hold, with the versions that it was seen with.
"""

from __future__ import annotations

from collections.abc import Mapping

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import DeviceError, SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Signature

SIMULATED = "simulated"
"""The key in `Capture.captured_with` that says, with "yes", that a simulator took the place of the device."""


@dataclass(frozen=True)
class Capture:
    """What was found.

    Attributes:
        signature: of the blob.
        captured_with: versions of the software and the device that loaded the blob; empty where there is no device.
        unchecked: why no device has loaded the blob, or None.
    """

    signature: Signature
    captured_with: Mapping[str, str]
    unchecked: DeviceError | None


def capture(vendor: Vendor, data: bytes, options: Mapping[str, str], *, ordinal: int = 0, simulate: bool = False) -> Capture:
    """Return the signature of a blob, checked on device ``ordinal`` of the vendor, where there is one.

    Raises:
        SignatureError: the blob is damaged, or of a kind that cannot be called.
        DeviceError: only a device would tell the signature, and there is none; or it refuses the blob.
        UnsupportedError: the vendor has no simulator.
    """
    driver: Driver | None = None
    missing: DeviceError | None = None
    try:
        driver = vendor.open(ordinal, simulate=simulate)
    except DeviceError as error:
        missing = error
    try:
        signature = _signature(vendor, data, options, driver, missing)
        if driver is None:
            return Capture(signature, {}, missing)
        driver.load(data, signature, options).close()
        simulated = {SIMULATED: "yes"} if driver.simulated else {}
        return Capture(signature, {**driver.versions, **simulated}, None)
    finally:
        if driver is not None:
            driver.close()


def _signature(vendor: Vendor, data: bytes, options: Mapping[str, str], driver: Driver | None, missing: DeviceError | None) -> Signature:
    """Return the signature; where a device would have told it, the error is that there is none."""
    try:
        return vendor.capture(data, options, driver)
    except SignatureError as error:
        if missing is None or vendor.tells_signature:
            raise
        raise missing from error
