"""Call an Ascend model some of whose outputs have shapes that only the data tells.

The file says how many bytes such an output takes at most. Memory for that is taken for the call; the library writes the shape that came
out into the tensor descriptor that was set for it, and just those bytes go to the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from ctypes import byref, c_int64
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors.atlas.acl import SUCCESS, Acl
from landbridge.runtime.vendors.atlas.description import Tensor
from landbridge.runtime.vendors.atlas.format import FORMATS, GE_DTYPES, ITEM_NBYTES

if TYPE_CHECKING:
    from landbridge.runtime.vendors.atlas.model import AtlasModel

_DTYPE_CODES = {name: code for code, name in GE_DTYPES.items()}
_FORMAT_CODES = {name: code for code, name in FORMATS.items()}


def run_open(model: AtlasModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[NDArray[Any] | None]:
    """Run ``model`` once; return the outputs of unknown shape on the host, None for those that have a tensor in ``outputs``.

    Raises:
        DeviceError: the vendor failed, the file does not bound an output, or a shape came out that is larger than that.
    """
    driver, acl, signature = model.driver, model.driver.acl, model.signature
    with model.lock, ExitStack() as stack:
        driver.bind()
        given = [(ref.address, tensor.nbytes) for ref, tensor in zip(inputs, model.description.inputs, strict=True)]
        taken = []
        for ref, tensor, port in zip(outputs, model.description.outputs, signature.outputs, strict=True):
            address = ref.address if ref is not None else _take(model, tensor, port, stack)
            taken.append((address, tensor.nbytes))
        arguments, results = model.make_dataset(given, stack), model.make_dataset(taken, stack)
        for index, port in enumerate(signature.outputs):
            if outputs[index] is None:
                _ask(acl, results, index, port, stack)
        code = acl.get("aclmdlExecute", model.model_id, arguments, results)
        if code != SUCCESS:
            raise acl.failure("aclmdlExecute", code)
        found: list[NDArray[Any] | None] = []
        for index, port in enumerate(signature.outputs):
            if outputs[index] is not None:
                found.append(None)
                continue
            shape = _told(acl, results, index)
            nbytes = math.prod(shape) * ITEM_NBYTES[port.dtype]
            if nbytes > taken[index][1]:
                text = f"it came out as {list(shape)}, {nbytes} bytes; the file says {taken[index][1]} at most"
                raise DeviceError(text, at=f"{acl.at}: output '{port.name}'", code="LB4010")
            array = np.empty(shape, holder(port.dtype))
            driver.copy_out(array.ctypes.data, taken[index][0], array.nbytes)
            found.append(array)
        return found


def _take(model: AtlasModel, tensor: Tensor, port: Port, stack: ExitStack) -> int:
    """Return memory for as much as an output may take."""
    if not tensor.nbytes:
        hint = "end the model before the operator that makes it, and leave that to the CPU"
        text = "only the data tells its shape, and the file does not say how large it may become"
        raise DeviceError(text, at=f"{model.driver.acl.at}: output '{port.name}'", hint=hint, code="LB4008")
    address = model.driver.allocate(tensor.nbytes)
    stack.callback(model.driver.quietly, "aclrtFree", address)
    return address


def _ask(acl: Acl, dataset: int, index: int, port: Port, stack: ExitStack) -> None:
    """Have the library write the shape of an output where `_told` finds it; the dataset keeps a copy of the descriptor."""
    layout = _FORMAT_CODES.get(port.layout, _FORMAT_CODES["ND"])
    extents = (c_int64 * len(port.shape))(*(-1 if isinstance(dim, str) else dim for dim in port.shape))
    descriptor = acl.create("aclCreateTensorDesc", _DTYPE_CODES[port.dtype], len(port.shape), extents, layout)
    stack.callback(acl.get, "aclDestroyTensorDesc", descriptor)
    acl.call("aclmdlSetDatasetTensorDesc", dataset, descriptor, index)


def _told(acl: Acl, dataset: int, index: int) -> tuple[int, ...]:
    descriptor = acl.create("aclmdlGetDatasetTensorDesc", dataset, index)
    extents = []
    for axis in range(acl.get("aclGetTensorDescNumDims", descriptor)):
        extent = c_int64()
        acl.call("aclGetTensorDescDimV2", descriptor, axis, byref(extent))
        extents.append(extent.value)
    return tuple(extents)
