"""Build a simulator's shared library from its C sources, once for each version of them.

The library goes into a cache folder of the user, under a name that is a hash of everything it depends on. Two processes that
build at the same time each build their own copy and rename it to the same place, so that no lock is needed and nobody ever
sees half a library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from landbridge.runtime.cache_folder import CACHE, cache_folder, private_folder
from landbridge.runtime.errors import DeviceError

FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra")
LIBRARIES = ("-lm", "-ldl")
CANDIDATES = ("cc", "gcc", "clang")
TIMEOUT_S = 300


def build_library(name: str, folder: Path, shared: Sequence[Path] = ()) -> Path:
    """Return the shared library of the C sources in ``folder``, building it first where it is not built yet.

    Args:
        name: file name of the library, such as ``libascendcl.so``.
        shared: sources elsewhere that belong to it as well, with the headers beside them.

    Raises:
        DeviceError: there is no C compiler, or it failed.
    """
    compiler = find_compiler()
    sources = [*sorted(folder.glob("*.c")), *shared]
    headers = [header for place in dict.fromkeys((folder, *(source.parent for source in shared))) for header in sorted(place.glob("*.h"))]
    key = _key(compiler, [*sources, *headers])
    library = build_folder() / key / name
    if not library.is_file():
        _compile(compiler, sources, library)
    return library


def find_compiler() -> list[str]:
    """Return the C compiler as a command: ``$CC`` where it is set, else the first of `CANDIDATES` that is installed.

    Raises:
        DeviceError: there is none.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [[candidate] for candidate in CANDIDATES]:
        path = shutil.which(command[0])
        if path:
            return [path, *command[1:]]
    tried = f"$CC is '{chosen[0]}'" if chosen else f"tried {', '.join(CANDIDATES)}"
    raise DeviceError(
        f"no C compiler found to build the simulator with ({tried})", hint="install gcc or clang, or set CC to one", code="LB4015"
    )


def build_folder() -> Path:
    """Return the folder for built libraries: the user's cache (`landbridge.runtime.cache_folder`), else a private temporary one.

    Raises:
        DeviceError: none of them can be used.
    """
    temporary = Path(tempfile.gettempdir(), f"landbridge-{os.getuid()}")
    folder = cache_folder("simulators") or private_folder(temporary / "simulators")
    if folder is None:
        raise DeviceError(
            f"no folder for built simulators: neither the user's cache nor {temporary} can be used by nobody else",
            hint=f"set {CACHE} to one that can",
            code="LB4015",
        )
    return folder


def _key(compiler: Sequence[str], files: Sequence[Path]) -> str:
    """Return the hash of what a library depends on; the compiler counts by its file."""
    found = os.stat(compiler[0])
    digest = hashlib.sha256(repr((platform.machine(), list(compiler), found.st_size, found.st_mtime_ns, FLAGS, LIBRARIES)).encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:32]


def _compile(compiler: Sequence[str], sources: Sequence[Path], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent.parent, prefix="build-") as scratch:
        made = Path(scratch, library.name)
        command = [*compiler, *FLAGS, "-o", str(made), *map(str, sources), *LIBRARIES]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(
                f"the C compiler {compiler[0]} could not be run: {error}", hint="set CC to one that works", code="LB4015"
            ) from error
        if done.returncode != 0 or not made.is_file():
            lines = "\n".join(done.stderr.strip().splitlines()[:20])
            raise DeviceError(
                f"the C compiler {compiler[0]} failed with exit code {done.returncode}:\n{lines}",
                hint="set CC to one that works",
                code="LB4015",
            )
        library.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(made, library)
