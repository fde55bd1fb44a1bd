"""A simulated Cambricon card for tests, with what lives on it counted."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.cambricon import driver
from landbridge.runtime.vendors.cambricon.driver import CambriconDriver

KINDS = ("bytes", "buffer", "host", "queue", "model", "function", "context", "param", "params", "resource", "names")


class Simulator:
    """The simulator's own functions."""

    def __init__(self) -> None:
        """Open the library; building it is cached."""
        self.library = ctypes.CDLL(str(registry.simulator("cambricon")))
        self.library.sim_live.restype = ctypes.c_int64

    def live(self) -> dict[str, int]:
        """Return how many objects of each kind live, those there are none of left out."""
        counts = {kind: int(self.library.sim_live(kind.encode())) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def fault(self, function: str, k: int = 1, mode: str = "fail") -> None:
        """Make the ``k``-th call of ``function`` from now fail."""
        assert self.library.sim_fault(function.encode(), k, mode.encode()) == 0

    def speed(self, what: str, latency_s: float) -> None:
        """Say how long copies or executions take."""
        assert self.library.sim_speed(what.encode(), ctypes.c_double(latency_s), ctypes.c_double(0)) == 0

    def reset(self) -> None:
        """Forget everything, as in a new process."""
        self.library.sim_reset()
        driver._processes.pop(True, None)


class OnDevice:
    """Arrays on a device: made from host arrays or empty, read back, freed together."""

    def __init__(self, driver: CambriconDriver) -> None:
        """Begin with none."""
        self.driver = driver
        self._addresses: list[int] = []

    def put(self, array: NDArray[Any]) -> TensorRef:
        """Return a copy of ``array`` on the device."""
        array = np.ascontiguousarray(array)
        ref = self.empty(array.dtype.name, array.shape)
        self.driver.copy_in(ref.address, array.ctypes.data, array.nbytes)
        return ref

    def empty(self, dtype: str, shape: Sequence[int]) -> TensorRef:
        """Return memory for a tensor."""
        nbytes = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        self._addresses.append(self.driver.allocate(nbytes))
        return TensorRef(self._addresses[-1], nbytes, dtype, tuple(shape))

    def get(self, ref: TensorRef) -> NDArray[Any]:
        """Return what is on the device."""
        array = np.empty(ref.shape, ref.dtype)
        self.driver.copy_out(array.ctypes.data, ref.address, array.nbytes)
        return array

    def free(self) -> None:
        """Free all."""
        while self._addresses:
            self.driver.free(self._addresses.pop())


@contextmanager
def device(ordinal: int = 0) -> Iterator[OnDevice]:
    """Give a fresh simulated card; afterwards nothing may live on it."""
    simulator = Simulator()
    simulator.reset()
    opened = CambriconDriver(ordinal, simulate=True)
    on = OnDevice(opened)
    try:
        yield on
        on.free()
    finally:
        opened.close()
        live = simulator.live()
        simulator.reset()
    assert live == {}
