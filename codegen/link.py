"""Link the compiled kernels, the segments and the support file into one shared library that needs only libc and libm."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from landbridge.codegen.target import HostTarget
from landbridge.runtime.errors import BugError

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=c11", "-O2", "-g0", "-shared", "-fPIC", "-fvisibility=hidden", "-s")
_LINKER_FLAGS = ("-Wl,-z,now", "-Wl,-z,defs", "-Wl,-z,relro", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-Wl,--hash-style=gnu")
_EXPORTS = "{\n  global:\n    lb_error;\n    lb_segment_*;\n  local:\n    *;\n};\n"


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
        command = [*target.compiler, *_FLAGS, f"-I{_SOURCES}", "segments.c", str(_SOURCES / "support.c"), "@kernels"]
        _run([*command, *_LINKER_FLAGS, "-Wl,--version-script=exports.map", "-pthread", "-lm", "-o", "host.so"], here)
        return (here / "host.so").read_bytes()


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BugError(f"the host library does not link: {done.stderr.strip() or done.stdout.strip()}", at=" ".join(command[:1]))
