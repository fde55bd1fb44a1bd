"""The double of libcuda, built with the C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from landbridge.runtime.vendors.tensorrt import cuda
from support import strict


@cache
def _build() -> Path:
    path = Path(mkdtemp(prefix="libcuda-double-")) / "libcuda.so.1"
    source = Path(__file__).with_name("libcuda_double.c")
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o", path, source], check=True)
    return path


class CudaDouble:
    """What a test does with the double: break it, and count what is left."""

    def __init__(self) -> None:
        if shutil.which("cc") is None:
            pytest.skip("needs a C compiler")
        self.path = _build()
        self.library: Any = ctypes.CDLL(str(self.path))
        self.library.double_budget.argtypes = (ctypes.c_size_t,)
        for name in ("double_read", "double_write"):
            first, second = (ctypes.c_uint64, ctypes.c_void_p)
            getattr(self.library, name).argtypes = (first, second, ctypes.c_size_t)
        self.library.cuLaunchHostFunc.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self.library.double_reset()
        strict.note("libcuda", self.path, "double_misuse")

    def fail(self, function: str, code: int = 999, k: int = 1) -> None:
        """Make the ``k``-th call of a function from now return ``code``."""
        self.library.double_fail(function.encode(), k, code)

    def fail_on_stream(self, code: int = 700) -> None:
        """Make the next wait for the stream fail."""
        self.library.double_fail_on_stream(code)

    def budget(self, nbytes: int) -> None:
        """Set the memory of the GPU."""
        self.library.double_budget(nbytes)

    def live(self) -> int:
        """Return how many contexts, streams and blocks there are."""
        return int(self.library.double_live())

    def is_current(self) -> bool:
        """Return whether the calling thread has a context."""
        return bool(self.library.double_is_current())


def use(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    """Make the double the libcuda of this test."""
    double = CudaDouble()
    monkeypatch.setattr(cuda, "LIBRARIES", (str(double.path),))
    return double
