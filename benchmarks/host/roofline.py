"""How fast this machine could run a model at best: its rate of multiplications and additions, and of copies, both measured.

A model takes at least as long as its arithmetic at that rate, and as reading its inputs and weights and writing its outputs once. What
lies between is not counted: code that fuses perfectly never brings it to memory. Copies of as many bytes as the model moves are the
measure, so that what fits into a cache is held against the cache.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from host.work import Work

COPIES = tuple(1 << power for power in (15, 17, 19, 21, 23, 25, 27))
"""Bytes of the copies that are measured, of each thread."""

_SECONDS = 0.15
"""For how long each is tried."""


@dataclass(frozen=True)
class Machine:
    """What so many threads can do.

    Attributes:
        flops: multiplications and additions of float32 a second.
        copies: by the bytes that are read and written together, how many of them a second.
    """

    flops: float
    copies: tuple[tuple[int, float], ...]

    def least_ms(self, work: Work) -> float:
        """Return the milliseconds below which no code of float32 gets."""
        rate = next((rate for nbytes, rate in self.copies if nbytes >= work.nbytes), self.copies[-1][1])
        return max(work.flops / self.flops, work.nbytes / rate) * 1e3

    def bound(self, work: Work) -> str:
        """Return what bounds it."""
        return "arithmetic" if work.flops / self.flops * 1e3 == self.least_ms(work) else "memory"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def measure(threads: int) -> Machine:
    """Return what so many threads can do at once."""
    library = _library()
    flops = _together(threads, lambda _: float(library.lb_flops(ctypes.c_double(2 * _SECONDS))))
    blocks = [(np.ones(max(COPIES), np.uint8), np.ones(max(COPIES), np.uint8)) for _ in range(threads)]
    copies = []
    for nbytes in COPIES:

        def copy(index: int, nbytes: int = nbytes) -> float:
            to, source = (ctypes.c_void_p(block.ctypes.data) for block in blocks[index])
            return float(library.lb_copy(to, source, ctypes.c_size_t(nbytes), ctypes.c_double(_SECONDS)))

        copies.append((2 * nbytes * threads, _together(threads, copy)))
    return Machine(flops, tuple(copies))


def _library() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "roofline.so"
        source = Path(__file__).with_name("roofline.c")
        command = ["cc", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-o", str(made), str(source)]
        subprocess.run(command, check=True)
        library = ctypes.CDLL(str(made))
    library.lb_flops.restype = library.lb_copy.restype = ctypes.c_double
    return library


def _together(threads: int, call: Callable[[int], float]) -> float:
    """Return the sum of what each thread gets; ctypes lets them run at once."""
    found = [0.0] * threads

    def work(index: int) -> None:
        found[index] = call(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(found)
