"""Link the compiled kernels, the segments and the support files into one shared library that needs only libc and libm."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from landbridge.codegen.target import HostTarget
from landbridge.runtime.errors import BugError

_SOURCES = Path(__file__).parent
_SUPPORT = ("support.c", "threads.c")
_FLAGS = ("-std=c11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", f"-I{_SOURCES}")
_LINKER_FLAGS = (
    "-shared",
    "-s",
    "-Wl,-z,now",
    "-Wl,-z,defs",
    "-Wl,-z,relro",
    "-Wl,-z,noexecstack",
    "-Wl,--build-id=none",
    "-Wl,--hash-style=gnu",
)
_EXPORTS = "{ global: lb_error; lb_alignment; lb_segment_*; lb_limited; lb_pool; lb_adopt; local: *; };\n"


def link_library(objects: Sequence[bytes], segments: str, target: HostTarget) -> bytes:
    """Return the bytes of the host library; the same arguments give the same bytes.

    Args:
        objects: the compiled kernels.
        segments: the C file of `landbridge.codegen.emit`.

    Raises:
        BugError: the C compiler or the linker refused what was generated.
    """
    with tempfile.TemporaryDirectory(prefix="landbridge-") as folder:
        here = Path(folder)
        files = [f"kernel{index}.o" for index in range(len(objects))]
        for file, data in zip(files, objects, strict=True):
            (here / file).write_bytes(data)
        (here / "segments.c").write_text(segments)
        (here / "exports.map").write_text(_EXPORTS)
        (here / "kernels").write_text("\n".join(files))  # more names than a command line may have
        for name, data in _support(target.compiler).items():
            (here / name).write_bytes(data)
        command = [*target.compiler, *_FLAGS, "segments.c", *_support(target.compiler), "@kernels"]
        _run([*command, *_LINKER_FLAGS, "-Wl,--version-script=exports.map", "-pthread", "-lm", "-o", "host.so"], here)
        return (here / "host.so").read_bytes()


@cache
def _support(compiler: tuple[str, ...]) -> Mapping[str, bytes]:
    """Return the compiled support files, which are the same in every library: compiled once a process."""
    with tempfile.TemporaryDirectory(prefix="landbridge-") as folder:
        here = Path(folder)
        _run([*compiler, *_FLAGS, "-c", *(str(_SOURCES / name) for name in _SUPPORT)], here)
        return {file.name: file.read_bytes() for file in sorted(here.glob("*.o"))}


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BugError(f"the host library does not link: {done.stderr.strip() or done.stdout.strip()}", at=" ".join(command[:1]))
