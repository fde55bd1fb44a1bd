"""A simulated Ascend device for tests, with what lives on it counted."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.driver import PreparedCall, TensorRef
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from landbridge.runtime.vendors.atlas.model import AtlasModel

KINDS = ("bytes", "buffer", "context", "model", "desc", "dataset", "databuffer", "config")


class Simulator:
    """The simulator's own functions."""

    def __init__(self) -> None:
        """Open the library; building it is cached."""
        self._library = ctypes.CDLL(str(registry.simulator("atlas")))
        self._library.sim_live.restype = ctypes.c_int64

    def live(self) -> dict[str, int]:
        """Return how many objects of each kind live, those there are none of left out."""
        counts = {kind: int(self._library.sim_live(kind.encode())) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def fault(self, function: str, k: int = 1, mode: str = "fail") -> None:
        """Make the ``k``-th call of ``function`` from now fail."""
        assert self._library.sim_fault(function.encode(), k, mode.encode()) == 0

    def speed(self, what: str, latency_s: float) -> None:
        """Say how long each copy or execution takes at least, until the next reset."""
        self._library.sim_speed.argtypes = (ctypes.c_char_p, ctypes.c_double, ctypes.c_double)
        assert self._library.sim_speed(what.encode(), latency_s, 0) == 0

    def reset(self) -> None:
        """Forget everything, as in a new process."""
        self._library.sim_reset()


class OnDevice:
    """Arrays on a device: made from host arrays or empty, read back, freed together."""

    def __init__(self, driver: AtlasDriver) -> None:
        """Begin with none."""
        self.driver = driver
        self._addresses: list[int] = []

    def put(self, array: NDArray[Any], slack_nbytes: int = 0) -> TensorRef:
        """Return a copy of ``array`` on the device, with room behind it."""
        array = np.ascontiguousarray(array)
        ref = self.empty(array.dtype.name, array.shape, slack_nbytes)
        self.driver.copy_in(ref.address, array.ctypes.data, array.nbytes)
        return ref

    def empty(self, dtype: str, shape: Sequence[int], slack_nbytes: int = 0) -> TensorRef:
        """Return memory for a tensor."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize + slack_nbytes
        address = self.driver.allocate(nbytes)
        self._addresses.append(address)
        return TensorRef(address, nbytes, dtype, tuple(shape))

    def get(self, ref: TensorRef) -> NDArray[Any]:
        """Return a tensor on the host."""
        array = np.empty(ref.shape, ref.dtype)
        self.driver.copy_out(array.ctypes.data, ref.address, array.nbytes)
        return array

    def free(self) -> None:
        """Give all of it back."""
        for address in self._addresses:
            self.driver.free(address)
        self._addresses.clear()


@contextmanager
def call_of(model: AtlasModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> Iterator[PreparedCall]:
    """Prepare a call and close it."""
    call = model.prepare(inputs, outputs)
    try:
        yield call
    finally:
        call.close()
