"""Run an OM file in the Ascend simulator, and the ONNX model it came from in ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from landbridge.runtime.driver import Driver, TensorRef
from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.gears import reserved_nbytes
from landbridge.runtime.signature import BATCH, Signature
from landbridge.runtime.vendors.atlas import AtlasVendor


def run_om(
    driver: Driver, blob: bytes, inputs: list[NDArray[Any]], batch: int = 0, outputs: Sequence[tuple[int, ...]] = ()
) -> list[NDArray[Any]]:
    """Return the results of the model in ``blob``.

    Args:
        batch: that of the gears, where it has batch gears.
        outputs: the shapes of the results, where it has other gears.
    """
    signature = AtlasVendor().read_signature(blob, {})
    model = driver.load(blob, signature, {})
    slack = max(signature.gears.batches, default=0) if signature.gears else 0
    shapes = outputs or [_fixed(port.shape, batch) for port in signature.outputs]
    most = reserved_nbytes(signature)[len(signature.inputs) :]
    addresses: list[int] = []
    try:
        ins = [_place(driver, str(array.dtype), array.shape, slack, addresses) for array in inputs]
        for ref, array in zip(ins, inputs, strict=True):
            whole = np.ascontiguousarray(array)
            driver.copy_in(ref.address, whole.ctypes.data, whole.nbytes)
        ports = zip(signature.outputs, shapes, most, strict=True)
        outs = [_place(driver, port.dtype, shape, slack, addresses, least) for port, shape, least in ports]
        call = model.prepare(ins, outs)
        call()
        call.close()
        return [_fetch(driver, ref) for ref in outs]
    finally:
        model.close()
        for address in addresses:
            driver.free(address)


def check_interface(signature: Signature, batch: int, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Check that ``inputs`` are what the signature asks for."""
    found = [(name, str(array.dtype), array.shape) for name, array in inputs.items()]
    assert found == [(port.name, port.dtype, _fixed(port.shape, batch)) for port in signature.inputs]


def run_onnx(model: Any, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the results of ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def _fixed(shape: tuple[Any, ...], batch: int) -> tuple[int, ...]:
    return tuple(batch if dim == BATCH else int(dim) for dim in shape)


def _place(driver: Driver, dtype: str, shape: tuple[int, ...], slack: int, addresses: list[int], least: int = 1) -> TensorRef:
    rows = max(shape[:1], default=1)
    nbytes = max(nbytes_of(dtype, shape) // max(rows, 1) * (rows + slack), least, 1)
    addresses.append(driver.allocate(nbytes))
    return TensorRef(addresses[-1], nbytes, dtype, shape)


def _fetch(driver: Driver, ref: TensorRef) -> NDArray[Any]:
    array = np.empty(ref.shape, ref.dtype)
    if math.prod(ref.shape):
        driver.copy_out(array.ctypes.data, ref.address, array.nbytes)
    return array
