"""Names and numbers of CNRT 4, and the head of simulated offline models.

The format of real offline models is not public; nothing here reads one.

Source: cnrt.h 4.7.12.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from landbridge.runtime.errors import SignatureError

QUANT8 = 0x51
"""An 8-bit number with a scale that the file does not tell; to the caller it is an int8."""

DTYPES: dict[int, str] = {
    0x12: "float16",
    0x13: "float32",
    0x14: "float64",
    0x20: "int4",
    0x21: "int8",
    0x22: "int16",
    0x23: "int32",
    0x24: "int64",
    0x31: "uint8",
    0x32: "uint16",
    0x33: "uint32",
    QUANT8: "int8",
    0x61: "bool",
}
"""The dtype for each ``cnrtDataType_t``; those that are missing (such as FIX8, 0x41) have none."""

CORES: dict[int, str] = {5: "MLU270", 6: "MLU220", 7: "MLU290"}
"""The chip for each ``cnrtCoreVersion_t``."""

NHWC = "NHWC"
"""How images lie on the device, whatever the framework's layout was."""

SYMBOL, MUTABLE = "symbol", "tensor_dim_mutable"
"""Options of an offline model: its function, and whether ("true") the caller chooses dimensions that the function leaves open."""

SIMULATED_MAGIC = b"landbridge simulated cambricon\n\0"
"""The first bytes of an offline model that only the simulator runs."""

SIMULATED_HEAD = struct.Struct("<32sIIQI")
"""Magic, version, core, bytes of the whole file, number of functions."""

SIMULATED_VERSION = 1


def is_simulated(data: bytes) -> bool:
    """Return whether ``data`` is an offline model that only the simulator runs."""
    return data[: len(SIMULATED_MAGIC)] == SIMULATED_MAGIC


def check_options(options: Mapping[str, str], at: str) -> None:
    """Check the options of an offline model.

    Raises:
        SignatureError: one is unknown, or is none of those it can be.
    """
    for name, value in options.items():
        if name not in (SYMBOL, MUTABLE):
            raise SignatureError(f"unknown option '{name}'", at=at, hint=f"options are {SYMBOL} and {MUTABLE}", code="LB2112")
        if name == MUTABLE and value not in ("true", "false"):
            raise SignatureError(f"{MUTABLE} is '{value}', expected true or false", at=at, code="LB2112")


def check_length(data: bytes, at: str) -> None:
    """Check, of a model for the simulator, that it is whole: nobody is told its length when it is loaded.

    Raises:
        SignatureError: it is not.
    """
    if not is_simulated(data):
        return
    said = SIMULATED_HEAD.unpack_from(data)[3] if len(data) >= SIMULATED_HEAD.size else SIMULATED_HEAD.size
    if said != len(data):
        raise SignatureError(f"the model is cut off or has bytes after its end: {len(data)} bytes, it says {said}", at=at, code="LB2103")
