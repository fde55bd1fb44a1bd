"""The vendor's Python package ``magicmind.python.runtime``: what is called of it, and what its models say of themselves.

Source: Cambricon/magicmind_cloud, buildin/python_common (mm_runner.py, model_process.py): the calls of public code, and no others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import BATCH, Dim, Port, Signature
from landbridge.runtime.vendors import presence

PACKAGE = "magicmind.python.runtime"

DTYPES: dict[str, str] = {
    "FLOAT16": "float16",
    "FLOAT32": "float32",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "QINT8": "int8",
    "BOOL": "bool",
}
"""The dtype for each member of ``DataType``; those of less than a byte, and bfloat16, NumPy cannot hold."""


def import_package(at: str) -> Any:
    """Return the vendor's package.

    Raises:
        DeviceError: it is missing, or does not load.
    """
    hint = "install MagicMind's Python wheel from the Cambricon SDK of your card (it is not on PyPI), and set NEUWARE_HOME"
    return presence.import_package(PACKAGE, at=at, hint=hint)


def check(status: Any, what: str, at: str) -> None:
    """Check what a call returned that gives a status, or nothing.

    Raises:
        DeviceError: it is not a good one.
    """
    if status is not None and not status.ok():
        raise DeviceError(f"{what} failed: {status}", at=at, vendor_text=str(status), code="LB4009")


def made(package: Any, result: Any, what: str, at: str) -> Any:
    """Return what a call made.

    Raises:
        DeviceError: it returned nothing, or a status in its place.
    """
    is_status = isinstance(result, package.Status)
    if result is None or is_status:
        raise DeviceError(f"{what} failed{f': {result}' if is_status else ''}", at=at, vendor_text=str(result) if is_status else "")
    return result


def open_model(package: Any, blob: bytes, at: str) -> Any:
    """Return the model in ``blob``. Only files can be read, so it goes through one."""
    model = package.Model()
    with tempfile.NamedTemporaryFile(prefix="landbridge-", suffix=".mm") as file:
        file.write(blob)
        file.flush()
        check(model.deserialize_from_file(file.name), "reading the model", at)
    return model


def signature_of(package: Any, model: Any, at: str) -> Signature:
    """Return what a model says of itself. A dimension it leaves open has a name; a leading one is the batch.

    Raises:
        DeviceError: a type that no tensor here can have; an output with an open dimension that is not the batch.
    """
    inputs = read_ports(package, model, "input", at)
    outputs = read_ports(package, model, "output", at)
    known = {dim for port in inputs for dim in port.shape if isinstance(dim, str)}
    for port in outputs:
        unknown = [axis for axis, dim in enumerate(port.shape) if isinstance(dim, str) and dim not in known]
        if unknown:
            raise DeviceError(
                f"the model does not tell what dimension {unknown[0]} of output '{port.name}' becomes",
                at=at,
                hint="give signature=lb.Signature(...), or a sidecar, in which that dimension has the name of one of the inputs'",
                code="LB4014",
            )
    return Signature(inputs, outputs, origin=dict.fromkeys(("inputs", "outputs"), "device"))


def read_ports(package: Any, model: Any, kind: str, at: str) -> tuple[Port, ...]:
    """Return the inputs or outputs (``kind`` is "input" or "output") in the vendor's order.

    Raises:
        DeviceError: a type that no tensor here can have.
    """
    count = getattr(model, f"get_{kind}_num")()
    shapes, types = getattr(model, f"get_{kind}_dimensions")(), getattr(model, f"get_{kind}_data_types")()
    names = names_of(model, kind) or [f"{kind}{index}" for index in range(count)]
    return tuple(Port(name, _dtype(package, types[index], name, at), tuple(_dims(name, shapes[index]))) for index, name in enumerate(names))


def names_of(model: Any, kind: str) -> list[str]:
    """Return the names of the inputs or outputs, nothing where this release has none."""
    return list(getattr(model, f"get_{kind}_names", list)())


def _dims(name: str, shape: Any) -> Sequence[Dim]:
    extents = [int(extent) for extent in (shape.GetDims() if hasattr(shape, "GetDims") else shape)]
    return [extent if extent >= 0 else BATCH if axis == 0 else f"{name}_{axis}" for axis, extent in enumerate(extents)]


def _dtype(package: Any, code: Any, name: str, at: str) -> str:
    for member, dtype in DTYPES.items():
        if hasattr(package.DataType, member) and code == getattr(package.DataType, member):
            return dtype
    hint = f"build the model with one of {', '.join(dict.fromkeys(DTYPES.values()))} there"
    raise DeviceError(f"'{name}' has the type {code}, which no tensor here can have", at=at, hint=hint, code="LB4007")
