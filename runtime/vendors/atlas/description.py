"""What the vendor's library says of a loaded model, and whether that is what the program was compiled for."""

from __future__ import annotations

import math
from ctypes import byref, c_size_t
from dataclasses import replace

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.gears import gear_names
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.atlas.acl import SUCCESS, Acl, IODims
from landbridge.runtime.vendors.atlas.format import GE_DTYPES, GEAR_INPUT, ITEM_NBYTES


@dataclass(frozen=True)
class Tensor:
    """An input or output on the device.

    Attributes:
        name: the vendor's.
        dtype: as in a signature.
        dims: -1 where a gear decides; of outputs the largest gear's.
        nbytes: of the largest gear.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class Description:
    """A loaded model's interface.

    Attributes:
        inputs: in the vendor's order, the hidden one included.
        outputs: in the vendor's order.
        gear_index: which input selects the gear, None for a model of one size.
        tells_sources: the dims of an input with preprocessing are those of its source image; old libraries tell the network's.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gear_index: int | None
    tells_sources: bool = True

    @property
    def user_inputs(self) -> tuple[Tensor, ...]:
        """The inputs that a caller gives."""
        return tuple(tensor for index, tensor in enumerate(self.inputs) if index != self.gear_index)


def read_description(acl: Acl, handle: int) -> Description:
    """Return what the description ``handle`` says.

    Raises:
        DeviceError: the vendor's library fails.
    """
    tells_sources = acl.has("aclmdlGetInputDimsV2")
    input_dims = "aclmdlGetInputDimsV2" if tells_sources else "aclmdlGetInputDims"
    inputs = tuple(
        Tensor(
            name=(acl.get("aclmdlGetInputNameByIndex", handle, index) or b"").decode("utf-8", "replace"),
            dtype=_dtype(acl.get("aclmdlGetInputDataType", handle, index)),
            dims=_dims(acl, input_dims, handle, index),
            nbytes=acl.get("aclmdlGetInputSizeByIndex", handle, index),
        )
        for index in range(acl.get("aclmdlGetNumInputs", handle))
    )
    outputs = tuple(
        Tensor(
            name="",
            dtype=_dtype(acl.get("aclmdlGetOutputDataType", handle, index)),
            dims=_dims(acl, "aclmdlGetOutputDims", handle, index),
            nbytes=acl.get("aclmdlGetOutputSizeByIndex", handle, index),
        )
        for index in range(acl.get("aclmdlGetNumOutputs", handle))
    )
    found = c_size_t()
    has_gears = acl.get("aclmdlGetInputIndexByName", handle, GEAR_INPUT.encode(), byref(found)) == SUCCESS
    if not has_gears:
        acl.recent_text()  # dropped: a model without gears is no failure
    # the functions that return a number or a size return 0 where they fail
    sized = [*(t for t in inputs if 0 not in t.dims), *(t for t in outputs if min(t.dims, default=1) > 0)]
    if (has_gears and found.value >= len(inputs)) or any(not tensor.nbytes for tensor in sized):
        raise DeviceError(
            "the vendor's library does not tell the sizes of the model", at=acl.at, vendor_text=acl.recent_text(), code="LB4008"
        )
    return Description(inputs, outputs, found.value if has_gears else None, tells_sources)


def compare(description: Description, signature: Signature, at: str) -> None:
    """Check that a loaded model is what the program was compiled for.

    Raises:
        DeviceError: it is not; the message has every difference.
    """
    inputs = description.user_inputs
    if not description.tells_sources and len(inputs) == len(signature.inputs):
        pairs = zip(inputs, signature.inputs, strict=True)
        inputs = tuple(_with_source(tensor, port, signature) if port.aipp else tensor for tensor, port in pairs)
    differences = [
        *_compare("input", inputs, signature.inputs),
        *_compare("output", description.outputs, signature.outputs),
    ]
    if (description.gear_index is None) != (signature.gears is None):
        differences.append("gears on one side only")
    if differences:
        text = "; ".join(differences)
        hint = "compile the program again with the file that is to run"
        raise DeviceError(f"the loaded model is not what the program was compiled for: {text}", at=at, hint=hint, code="LB4004")


def _compare(kind: str, tensors: tuple[Tensor, ...], ports: tuple[Port, ...]) -> list[str]:
    if len(tensors) != len(ports):
        return [f"{len(tensors)} {kind}s, expected {len(ports)}"]
    return [
        f"{kind} {index} '{port.name}' is {tensor.dtype} {list(tensor.dims)}, expected {port.dtype} [{', '.join(map(str, port.shape))}]"
        for index, (tensor, port) in enumerate(zip(tensors, ports, strict=True))
        if tensor.dtype != port.dtype or not _fits(kind, tensor.dims, port)
    ] + [
        f"output {index} '{port.name}' takes {tensor.nbytes} bytes, {port.dtype} {list(tensor.dims)} takes {needed}"
        for index, (tensor, port) in enumerate(zip(tensors, ports, strict=True))
        for needed in (math.prod(tensor.dims) * ITEM_NBYTES[port.dtype],)
        if kind == "output" and min(tensor.dims, default=1) > 0 and tensor.nbytes != needed
    ]


def _with_source(tensor: Tensor, port: Port, signature: Signature) -> Tensor:
    """Return an input with the source image's dims, where its bytes are just those of the source image in the largest gear."""
    names, gears = gear_names(signature), signature.gears
    known = [dict(zip(names, choice, strict=False)) for choice in gears.choices] if gears is not None else [{}]
    most = max(math.prod(extents.get(dim, 0) if isinstance(dim, str) else dim for dim in port.shape) for extents in known)
    fits = tensor.nbytes == most * ITEM_NBYTES[port.dtype]
    return replace(tensor, dims=tuple(-1 if isinstance(dim, str) else dim for dim in port.shape)) if fits else tensor


def _fits(kind: str, dims: tuple[int, ...], port: Port) -> bool:
    """Return whether dims agree; where the port has a name, an input has -1 and an output the largest gear's extent."""
    if len(dims) != len(port.shape):
        return False
    pairs = zip(dims, port.shape, strict=True)
    return all((kind == "output" or found == -1) if isinstance(dim, str) else found == dim for found, dim in pairs)


def _dims(acl: Acl, name: str, handle: int, index: int) -> tuple[int, ...]:
    dims = IODims()
    acl.call(name, handle, index, byref(dims))
    return tuple(dims.dims[: min(dims.dimCount, len(dims.dims))])


def _dtype(code: int) -> str:
    return GE_DTYPES.get(code, f"type {code}")
