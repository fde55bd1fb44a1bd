"""Find vendors by name, by device kind, or by the bytes of a blob; and the simulators of vendors' libraries.

A vendor is an object of a `Vendor` class named in the entry-point group ``landbridge.vendors``. A simulator is a function in
the group ``landbridge.simulators`` that returns the path of a library with the vendor's own C interface. The built-in ones are
listed here in the same form, so that a checkout works before it is installed; a test keeps the lists equal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from landbridge.runtime.device import register_kind
from landbridge.runtime.driver import Vendor
from landbridge.runtime.errors import UnsupportedError, UsageError, nearest
from landbridge.runtime.vendors.own import OWN, OwnVendor

if TYPE_CHECKING:
    from pathlib import Path

_OWN = OwnVendor()

GROUP = "landbridge.vendors"

BUILT_IN: dict[str, str] = {
    "atlas": "landbridge.runtime.vendors.atlas:AtlasVendor",
    "tensorrt": "landbridge.runtime.vendors.tensorrt:TensorrtVendor",
    "openvino": "landbridge.runtime.vendors.openvino:OpenvinoVendor",
    "onnxruntime": "landbridge.runtime.vendors.onnxruntime:OnnxruntimeVendor",
    "cambricon": "landbridge.runtime.vendors.cambricon:CambriconVendor",
    "magicmind": "landbridge.runtime.vendors.magicmind:MagicMindVendor",
    "litert": "landbridge.runtime.vendors.litert:LitertVendor",
    "iree": "landbridge.runtime.vendors.iree:IreeVendor",
}

SIMULATORS_GROUP = "landbridge.simulators"

BUILT_IN_SIMULATORS: dict[str, str] = {
    "atlas": "landbridge.simulators.ascend:library",
    "cambricon": "landbridge.simulators.cambricon:library",
}

_vendors: dict[str, Vendor] = {}
_discovered = False
_lock = threading.RLock()


def register(vendor: Vendor) -> None:
    """Make a vendor known, replacing one of the same name. Entry points do this for installed vendors."""
    with _lock:
        register_kind(vendor.device_kind)
        _vendors[vendor.name] = vendor


def unregister(name: str) -> None:
    """Forget the vendor ``name``; tests clean up with this."""
    with _lock:
        _vendors.pop(name, None)


def vendors() -> dict[str, Vendor]:
    """Return every vendor by name: built-in ones first, then installed ones, in the order of their names; then those of `register`."""
    global _discovered
    with _lock:
        if not _discovered:
            installed = sorted({**_installed(GROUP), **BUILT_IN}.items(), key=lambda item: (item[0] not in BUILT_IN, item[0]))
            others = dict(_vendors)
            _vendors.clear()
            for name, place in installed:
                register(others.pop(name) if name in others else _make(place))
            _vendors.update(others)
            _discovered = True
        return dict(_vendors)


def kinds() -> dict[str, str]:
    """Return the kind of device of whatever an artifact may name as a vendor."""
    return {**{name: found.device_kind for name, found in vendors().items()}, OWN: _OWN.device_kind}


def find(name: str) -> Vendor | None:
    """Return the vendor called ``name``, or None. The others are not imported: that would be most of what loading an artifact takes."""
    if name == OWN:
        return _OWN
    with _lock:
        if name not in _vendors and not _discovered:
            place = BUILT_IN.get(name) or _installed(GROUP).get(name)
            if place is not None:
                register(_make(place))
        return _vendors.get(name)


def vendor(name: str) -> Vendor:
    """Return the vendor called ``name``.

    Raises:
        UsageError: there is none.
    """
    found = find(name)
    if found is None:
        known = vendors()
        meant = nearest(name, known)
        guess = f"did you mean '{meant}'? " if meant else ""
        raise UsageError(f"unknown vendor '{name}'", hint=f"{guess}vendors here: {', '.join(known)}", code="LB1103")
    return found


def recognise(data: bytes) -> Vendor | None:
    """Return the vendor whose format ``data`` is in, or None."""
    return next((candidate for candidate in vendors().values() if candidate.recognises(data)), None)


def check_memory(uses: Iterable[tuple[str, str, str]]) -> None:
    """Check that no device is used by two vendors: what one allocates there, the other cannot read, unless both work in the host's memory.

    Args:
        uses: device, vendor and name of each offline model.

    Raises:
        UnsupportedError: naming the device, the vendors and the models.
    """
    first: dict[str, tuple[str, str]] = {}
    for device, name, model in uses:
        other, its = first.setdefault(device, (name, model))
        if other != name and not (vendor(other).host_memory and vendor(name).host_memory):
            raise UnsupportedError(
                f"{device} is used by {other} ('{its}') and by {name} ('{model}'), which do not share memory",
                hint="run one of them on another device",
                code="LB2305",
            )


def vendor_of(data: bytes, suffix: str) -> Vendor | None:
    """Return the vendor of a file: whose format its bytes are in, else the only one whose files have that ending; or None."""
    named = [candidate for candidate in vendors().values() if suffix and suffix in candidate.suffixes]
    return recognise(data) or (named[0] if len(named) == 1 else None)


def simulator(name: str) -> Path:
    """Return the library that simulates the devices of vendor ``name``, built now if need be.

    Raises:
        UnsupportedError: there is no simulator of this vendor.
    """
    known = {**_installed(SIMULATORS_GROUP), **BUILT_IN_SIMULATORS}
    if name not in known:
        raise UnsupportedError(f"there is no simulator of '{name}'", hint=f"simulators here: {', '.join(sorted(known))}", code="LB2302")
    from pathlib import Path  # noqa: PLC0415 - of use only here, and slow to import

    module, _, attribute = known[name].partition(":")
    return Path(getattr(import_module(module), attribute)())


def _make(place: str) -> Vendor:
    """Return a vendor of the class that an entry point names."""
    module, _, attribute = place.partition(":")
    made: Vendor = getattr(import_module(module), attribute)()
    return made


def _installed(group: str) -> dict[str, str]:
    """Return what installed packages offer in an entry-point group, by name."""
    from importlib import metadata  # noqa: PLC0415 - it takes longer to import than the whole runtime

    return {entry.name: entry.value for entry in metadata.entry_points(group=group)}
