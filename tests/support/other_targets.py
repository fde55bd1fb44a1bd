"""Execute the host code of artifacts for other targets than this machine, another architecture under QEMU's user-mode emulation.

There every segment is one process, which gets all memory of the host and gives it back (``emulated_host.c``);
the rest of the plan runs here.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.artifact import HOST_LIBRARY, Artifact
from landbridge.runtime.plan import Segment
from support.host_library import HostRun, Memory

AARCH64 = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"
"""Executed under emulation."""

AARCH64_DOTPROD = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon,+dotprod"
"""The same with sums of products of bytes."""

AARCH64_BF16 = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon,+bf16"
"""The same with sums of products of bfloat16."""

AARCH64_FP16FML = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon,+fp16fml"
"""The same with products of float16 added to float32."""

AVX512_WITHOUT_VNNI = "llvm -mtriple=x86_64-linux-gnu -mcpu=skylake-avx512"
"""Executed as it is, where this machine has AVX-512."""

X86_64_V3 = "llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3"
"""Without AVX-512; executed as it is, where this machine has AVX2."""

HASWELL = "qemu-x86_64 -cpu Haswell"
"""A processor with AVX2 and without AVX-512, emulated."""

_TRIPLE = "aarch64-linux-gnu"
_EMULATOR = "qemu-aarch64"

_ARMS = (AARCH64, AARCH64_DOTPROD, AARCH64_BF16, AARCH64_FP16FML)
"""The targets that are emulated on other machines."""

_RUNNERS = {
    AARCH64: (f"{_TRIPLE}-gcc", (_EMULATOR, "-L", f"/usr/{_TRIPLE}")),
    **dict.fromkeys(_ARMS[1:], (f"{_TRIPLE}-gcc", (_EMULATOR, "-cpu", "max", "-L", f"/usr/{_TRIPLE}"))),
    HASWELL: ("cc", tuple(HASWELL.split())),
}
"""By target or machine, the C compiler and the command of the emulator."""


_NEEDED = {
    X86_64_V3: ({"avx2", "fma"}, "AVX2"),
    AVX512_WITHOUT_VNNI: ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "AVX-512"),
}
"""By target, what of /proc/cpuinfo its code needs, and the name of that."""


def why_not_executed(target: str | None) -> str:
    """Return why code for ``target`` cannot be executed here; "" where it can."""
    if target in _NEEDED:
        features, name = _NEEDED[target]
        return "" if features <= set(Path("/proc/cpuinfo").read_text().split()) else f"needs a processor with {name}"
    if target == HASWELL and platform.machine() != "x86_64":
        return "needs an x86-64 machine"
    emulated = {f"{_TRIPLE}-gcc": "gcc-aarch64-linux-gnu", _EMULATOR: "qemu-user"}
    tools = {**dict.fromkeys(_ARMS, emulated), HASWELL: {"qemu-x86_64": "qemu-user"}}.get(target or "", {})
    packages = [package for tool, package in tools.items() if shutil.which(tool) is None]
    return f"needs apt install {' '.join(packages)}" if packages else ""


def _param(target: str | None, name: str, *marks: pytest.MarkDecorator) -> Any:
    reason = why_not_executed(target)
    return pytest.param(target, id=name, marks=[*marks, pytest.mark.skipif(bool(reason), reason=reason)])


TARGETS = (_param(None, "this_machine"), _param(X86_64_V3, "avx2"), _param(AARCH64, "aarch64", pytest.mark.long))
"""Parameters of a fixture whose tests are to hold for each target."""


INTEGER_TARGETS = (
    *TARGETS,
    _param(AVX512_WITHOUT_VNNI, "avx512"),
    _param(AARCH64_DOTPROD, "aarch64_dotprod", pytest.mark.long),
)
"""The same for kernels that instructions for products of small integers matter to."""


BFLOAT16_TARGETS = (*TARGETS, _param(AARCH64_BF16, "aarch64_bf16", pytest.mark.long))
"""The same for products of bfloat16."""

FLOAT16_TARGETS = (*TARGETS, _param(AARCH64_FP16FML, "aarch64_fp16fml", pytest.mark.long))
"""The same for products of float16."""


_PART = 3


class OnTargets:
    """Cases with names that are compiled together, for each of several targets.

    Every run has all of them for this machine, and each third for others of its architecture: most of what differs there is the width of
    vectors, which every case depends on. The long tests have the rest.
    """

    def __init__(self, cases: Sequence[Any], compute: Callable[[Sequence[Any], str | None], Mapping[str, Any]]) -> None:
        """Take the cases, and what compiles some of them for a target and runs them."""
        self.cases, self.compute = cases, compute
        self.found: dict[tuple[str | None, bool], Mapping[str, Any]] = {}

    def params(self, targets: Sequence[Any] = TARGETS) -> list[Any]:
        """Return parameters of a test: a target and a case."""
        found = []
        for one in targets:
            (target,) = one.values
            for case in sorted(self.cases, key=lambda case: self._is_rest(target, case)):
                marks = [*one.marks, pytest.mark.long] if self._is_rest(target, case) else one.marks
                found.append(pytest.param(target, case, id=f"{one.id}-{case.name}", marks=marks))
        return found

    def results(self, target: str | None, case: Any) -> Mapping[str, Any]:
        """Return what was computed for a target together with this case."""
        key = target, self._is_rest(target, case)
        if key not in self.found:
            self.found[key] = self.compute([other for other in self.cases if self._is_rest(target, other) == key[1]], target)
        return self.found[key]

    def _is_rest(self, target: str | None, case: Any) -> bool:
        place = next(i for i, other in enumerate(self.cases) if other is case)
        return target is not None and target not in _ARMS and place % _PART != 0


def run_on(target: str | None, artifact: Artifact) -> HostRun:
    """Return the artifact, compiled for ``target``, ready to be executed on arrays."""
    return EmulatedRun(artifact, target) if target in _ARMS else HostRun(artifact)


class EmulatedRun(HostRun):
    """An artifact of another machine than this, ready to be executed on arrays."""

    def __init__(self, artifact: Artifact, machine: str = AARCH64) -> None:
        super().__init__(artifact, load=False)
        compiler, self.emulator = _RUNNERS[machine]
        self.folder = tempfile.TemporaryDirectory(prefix="landbridge-")
        self.program, self.file = (Path(self.folder.name) / name for name in ("emulated_host", "host.so"))
        self.file.write_bytes(artifact.sections[HOST_LIBRARY])
        source = Path(__file__).with_name("emulated_host.c")
        subprocess.run([compiler, "-O1", "-Wall", "-Werror", str(source), "-ldl", "-o", str(self.program)], check=True)

    def call_segment(self, step: Segment, memory: Memory) -> None:
        """Run the segment's function in the emulator on a copy of the memory, and take over what it left."""
        blocks = memory.host_blocks()
        starts = [block.ctypes.data for block in blocks]
        places = []
        for index in step.buffers:
            address = memory.raw(index).ctypes.data
            number = next(i for i, start in enumerate(starts) if start <= address <= start + len(blocks[i]))
            places += [number, address - starts[number]]
        dims = [memory.dims[name] for name in step.dims]
        numbers = [len(blocks), *map(len, blocks), len(step.buffers), *places, len(dims), *dims]
        data = np.array(numbers, "<i8").tobytes() + b"".join(block.tobytes() for block in blocks)
        command = [*self.emulator, str(self.program), str(self.file), step.symbol]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        code, result = int(np.frombuffer(done.stdout[:8], "<i8")[0]), done.stdout[8:]
        assert code == 0, result.decode()
        for block in blocks:
            block[...] = np.frombuffer(result[: len(block)], np.uint8)
            result = result[len(block) :]
        assert not result
