"""Load an artifact's native code, in the one way that always runs the bytes that were checked.

The bytes go to a sealed memory file and are loaded from there, once per digest and process: the dynamic loader takes a path it has
seen before for the library it loaded then, so a path must never come to mean other bytes. Where the kernel forbids to execute
memory files, a private directory stands in. Libraries stay loaded until the process ends, and all use the threads of the first.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import logging
import os
import platform
import threading
from functools import partial
from typing import Any

from landbridge.runtime.container import Blob
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactIncompatible
from landbridge.runtime.plan import ALIGNMENT

_LOG = logging.getLogger(__name__)

_MFD_EXEC = 0x10
"""Linux 6.3 and later: the file may be executed; older kernels refuse the flag and need none."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Other names of machines, with the name that a target triple has."""

_loaded: dict[str, HostLibrary] = {}
_lock = threading.Lock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class HostLibrary:
    """The host segments of an artifact, callable.

    Attributes:
        digest: SHA-256 of the library.
        alignment: what the addresses of buffers must be multiples of; libraries that do not say it were made for 64.
    """

    def __init__(self, library: ctypes.CDLL, digest: str) -> None:
        self.digest = digest
        self._library = library
        self._functions: dict[str, Any] = {}
        try:
            self.alignment = ctypes.c_int32.in_dll(library, "lb_alignment").value
        except ValueError:  # an older library
            self.alignment = ALIGNMENT
        self._error = self.function("lb_error")
        self._error.restype = ctypes.c_char_p

    def use_pool_of(self, first: HostLibrary) -> None:
        """Run parallel loops on the threads of another library, so that a process has one pool; libraries by hand have no loops."""
        try:
            pool, adopt = first._library["lb_pool"], self._library["lb_adopt"]
        except AttributeError:
            return
        pool.restype, adopt.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
        if not adopt(pool()):
            _LOG.debug("%s has threads of its own: those of %s are older", self.digest, first.digest)

    @property
    def has_pool(self) -> bool:
        """Whether other libraries may use its threads."""
        return hasattr(self._library, "lb_pool")

    def limited(self, symbol: str, threads: int) -> Any:
        """Return what is called like `function`, and computes on so many threads at most.

        Raises:
            ArtifactCorrupt: the library has no such function.
        """
        function = self.function(symbol)
        return partial(self._library["lb_limited"], threads, function) if self.has_pool else function

    def function(self, symbol: str) -> Any:
        """Return the function ``int symbol(void **buffers, const int64_t *dims)``, which takes ctypes arrays; always the same object.

        Raises:
            ArtifactCorrupt: the library has no such function.
        """
        try:
            return self._functions.setdefault(symbol, self._functions.get(symbol) or self._library[symbol])
        except AttributeError as error:
            raise ArtifactCorrupt(f"the host library has no function '{symbol}'", at="code/host.so") from error

    def error(self) -> str:
        """Return the text of the last failure on this thread."""
        text: bytes | None = self._error()
        return (text or b"").decode(errors="replace")


def load_host_library(data: Blob) -> HostLibrary:
    """Return the library in ``data``; the same bytes give the same object.

    Raises:
        ArtifactIncompatible: the system's loader refuses it.
        ArtifactCorrupt: it lacks what every host library exports.
    """
    digest = hashlib.sha256(data).hexdigest()
    with _lock:
        if digest not in _loaded:
            library = HostLibrary(_open(data, digest), digest)
            first = next((other for other in _loaded.values() if other.has_pool), None)
            if first is not None:
                library.use_pool_of(first)
            _loaded[digest] = library
        return _loaded[digest]


def check_machine(triple: str, cpu_features: tuple[str, ...]) -> None:
    """Check that this machine can execute code for a target.

    Raises:
        ArtifactIncompatible: it is of another kind, or lacks features; the message has both.
    """
    wanted = triple.split("-", maxsplit=1)[0]
    found = _MACHINES.get(platform.machine().lower(), platform.machine())
    if wanted and _MACHINES.get(wanted, wanted) != found:
        raise ArtifactIncompatible(
            f"compiled for {wanted}, this machine is {found}",
            at="target.triple",
            hint=f"compile for this machine: --target with {found}",
            code="LB3202",
        )
    present = _cpu_features() if cpu_features else frozenset()
    missing = [feature for feature in cpu_features if feature not in present]
    if missing:
        raise ArtifactIncompatible(
            f"compiled for a processor with {' '.join(cpu_features)}, this one lacks {' '.join(missing)}",
            at="target.cpu_features",
            hint="compile for this processor, or for a more general one such as --target 'llvm -mcpu=x86-64'",
            code="LB3202",
        )


def _cpu_features() -> frozenset[str]:
    """Return what the kernel says that every processor here can do."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return frozenset()
    found = [frozenset(line.partition(":")[2].split()) for line in lines if line.partition(":")[0].strip() in ("flags", "Features")]
    return frozenset.intersection(*found) if found else frozenset()


def _open(data: Blob, digest: str) -> ctypes.CDLL:
    """Load the library; its memory file is kept open so that its path is never another file's."""
    try:
        descriptor = _sealed_file(data)
        try:
            return _dlopen(f"/proc/self/fd/{descriptor}")
        except OSError:
            os.close(descriptor)
            raise
    except OSError as first:
        _LOG.debug("memory file refused: %s", first)
        import tempfile  # noqa: PLC0415 - of use only where memory files are forbidden

        with tempfile.TemporaryDirectory(prefix="landbridge-") as directory:  # only its owner may enter
            path = os.path.join(directory, f"{digest}.so")
            with open(path, "wb") as file:
                file.write(data)
            os.chmod(path, 0o500)
            try:
                return _dlopen(path)
            except OSError as second:
                raise ArtifactIncompatible(
                    f"the host library does not load: {second}", at="code/host.so", hint=f"as a memory file: {first}", code="LB3204"
                ) from second


def _sealed_file(data: Blob) -> int:
    """Return the descriptor of a memory file with ``data`` that nobody can change."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create("landbridge-host", flags | _MFD_EXEC)
    except OSError:
        descriptor = os.memfd_create("landbridge-host", flags)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _dlopen(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
