"""Whether what is installed can run an offline model: said before it is loaded, everything at once.

Chip, release of CANN, and the functions that the model needs of libascendcl, which releases have or lack one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from landbridge.runtime.diagnosis import loaded_from
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.atlas.acl import LIBRARY, Acl
from landbridge.runtime.vendors.atlas.format import SIMULATOR_PLATFORM

_SOC = re.compile(r"ascend(\d+)([a-z]?)", re.IGNORECASE)
_VERSION = re.compile(r"\s*(\d+(?:\.\d+)*)")
_VERSION_FILE = "version.info"
_COMPARED = 3
"""How many numbers of a version count: later ones are builds of the same release."""

_ALWAYS = (
    *("aclmdlQuerySizeFromMem", "aclmdlUnload", "aclmdlCreateDesc", "aclmdlDestroyDesc", "aclmdlGetDesc", "aclmdlGetNumInputs"),
    *("aclmdlGetNumOutputs", "aclmdlGetInputSizeByIndex", "aclmdlGetOutputSizeByIndex", "aclmdlGetInputNameByIndex", "aclmdlGetInputDims"),
    *("aclmdlGetOutputDims", "aclmdlGetInputDataType", "aclmdlGetOutputDataType", "aclmdlGetInputIndexByName", "aclmdlCreateDataset"),
    *("aclmdlDestroyDataset", "aclmdlAddDatasetBuffer", "aclCreateDataBuffer", "aclDestroyDataBuffer", "aclmdlExecute"),
)
_LOADERS = ("aclmdlLoadWithConfig", "aclmdlLoadFromMemWithMem")
"""One of them is enough."""
_TELLERS = (
    *("aclCreateTensorDesc", "aclDestroyTensorDesc", "aclmdlSetDatasetTensorDesc", "aclmdlGetDatasetTensorDesc"),
    *("aclGetTensorDescNumDims", "aclGetTensorDescDimV2"),
)
"""Needed where only the data tells the shape of an output."""
_GEAR_SETTERS = {"batch": "aclmdlSetDynamicBatchSize", "image": "aclmdlSetDynamicHWSize", "dims": "aclmdlSetInputDynamicDims"}


def misfits(signature: Signature, here: Mapping[str, str], acl: Acl, *, simulated: bool) -> Iterator[DeviceError]:
    """Yield every reason, as an error with found, needed and fix.

    Args:
        signature: of the offline model.
        here: the versions of what is installed: "soc", "acl" and "cann", as far as they are known.
        acl: the library.
        simulated: the simulator stands in for a device.
    """
    soc = here.get("soc", "")
    if signature.versions.get("platform", "").startswith(SIMULATOR_PLATFORM) and not simulated:
        text = "this offline model was made by Landbridge for its simulator; a real device cannot run it"
        yield DeviceError(text, hint=f"compile the model with ATC: atc --soc_version={soc or '...'}", code="LB4006")
    built = signature.versions.get("soc", "")
    if built and soc and soc_family(built) != soc_family(soc):
        text = f"the offline model was compiled for {built}, this device is {soc}"
        yield DeviceError(text, hint=f"compile the model again: atc --soc_version={soc}", code="LB4004")
    made, installed = signature.versions.get("atc", ""), here.get("cann", "")
    if _numbers(made) > _numbers(installed) > ():
        text = f"the offline model was made by ATC {made}, which is newer than the CANN {installed} that is installed here"
        fix = f"install CANN {made} or later, or compile the model with the ATC of CANN {installed}"
        yield DeviceError(text, hint=fix, code="LB4005")
    missing = _missing(signature, acl)
    if missing:
        release = f" (ACL {here['acl']})" if here.get("acl") else ""
        text = f"this release of {LIBRARY}{release} has no {', '.join(missing)}, which the offline model needs"
        yield DeviceError(text, hint="install a newer CANN or Ascend driver", code="LB4014")


def _missing(signature: Signature, acl: Acl) -> list[str]:
    setter = [_GEAR_SETTERS[signature.gears.kind]] if signature.gears is not None else []
    loader = [] if any(acl.has(name) for name in _LOADERS) else [_LOADERS[-1]]
    tellers = _TELLERS if any(signature.open_outputs) else ()
    return [name for name in (*_ALWAYS, *setter, *tellers) if not acl.has(name)] + loader


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version that count, () where it is none."""
    match = _VERSION.match(version)
    return tuple(int(part) for part in match[1].split("."))[:_COMPARED] if match else ()


def soc_family(soc: str) -> str:
    """Return what must be equal for a model to run: ``Ascend310P3`` and ``Ascend310P1`` are both "310p"."""
    match = _SOC.match(soc)
    return f"{match[1]}{match[2]}".lower() if match else soc.lower()


def installed_cann(library: str) -> str:
    """Return the release that a library belongs to, from the file that the vendor's installer leaves beside it; "" where there is none.

    Args:
        library: its path, or its name where the system found it.
    """
    path = Path(library if "/" in library else loaded_from(library))
    home = path.parent.parent
    for folder in (home, home / "runtime", home.parent / "runtime"):
        try:
            text = (folder / _VERSION_FILE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = next((line.partition("=")[2].strip() for line in text.splitlines() if line.lower().startswith("version=")), "")
        if found:
            return found
    return ""
