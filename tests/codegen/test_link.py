"""The host library as a file: what it needs, what it exports, that it is always the same, and that it fails with a text."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.link import link_library
from landbridge.codegen.target import resolve_target
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact
from landbridge.runtime.errors import BugError
from support.host_library import HostRun, load_library
from support.other_targets import HASWELL, X86_64_V3, EmulatedRun, why_not_executed
from support.placed_programs import build_main, placed


def example(target: str | None = None) -> Artifact:
    """Return an artifact with most kinds of kernels in it: parallel, with workspace, float16, symbolic."""

    def make(emit: Any, x: Any, big: Any) -> list[Any]:
        half = emit(op.astype(emit(op.nn.softmax(x)), "float16"))
        images = emit(op.nn.conv2d(emit(op.reshape(x, (x.ty.shape[0], 1, 4, 4))), relax.const(np.ones((2, 1, 3, 3), "float32")), padding=1))
        return [emit(op.exp(half)), images, emit(op.erf(big)), emit(op.power(x, relax.const(2.5)))]

    module = build_main({"x": (("n", 16), "float32"), "big": ((512, 1024), "float32")}, make)
    return build(placed(module, outputs=["a", "b", "c", "d"]), target, name="example")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "host.so"
    path.write_bytes(example().sections[HOST_LIBRARY])
    return path


def _readelf(option: str, path: Path) -> str:
    return subprocess.run(["readelf", "-W", option, str(path)], check=True, capture_output=True, text=True).stdout


def test_it_needs_libc_and_libm_only(library: Path) -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", _readelf("-d", library))
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def test_it_exports_what_is_called_from_outside_only(library: Path) -> None:
    symbols = [line.split() for line in _readelf("--dyn-syms", library).splitlines() if re.match(r"\s+\d+:", line)]
    exported = {fields[7].split("@")[0] for fields in symbols if len(fields) > 7 and fields[6] != "UND" and fields[4] != "LOCAL"}
    assert exported == {"lb_segment_0", "lb_error", "lb_alignment", "lb_limited", "lb_pool", "lb_adopt"}


def test_it_is_bound_at_once_and_has_no_build_id(library: Path) -> None:
    assert re.search(r"FLAGS.*NOW", _readelf("-d", library))
    assert "build-id" not in _readelf("-S", library)


def test_it_names_no_path_of_this_machine(library: Path) -> None:
    data = library.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in data
    assert b"/tmp/" not in data


_PRINT_DIGEST = f"""
import importlib.util, sys
sys.path[:0] = {sys.path!r}
spec = importlib.util.spec_from_file_location("example", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.digest())
"""


def test_two_processes_make_the_same_bytes() -> None:
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", _PRINT_DIGEST], env=environment, check=True, capture_output=True, text=True)
        digests.add(done.stdout.strip())
    assert digests == {digest()}


def digest() -> str:
    """Return a digest of everything in the example's artifact but the versions that made it."""
    artifact = example()
    sections = {name: hashlib.sha256(data).hexdigest() for name, data in artifact.sections.items()}
    return hashlib.sha256(repr((artifact.plan, artifact.target, sections)).encode()).hexdigest()


def test_a_failed_check_of_a_kernel_comes_back_as_text(library: Path) -> None:
    loaded = load_library(library.read_bytes())
    assert loaded.lb_error() == b""
    pointers = (ctypes.c_void_p * 32)()  # no memory at all
    dims = (ctypes.c_int64 * 1)(3)
    assert loaded.lb_segment_0(pointers, dims) != 0
    assert re.search(rb"\w+Error: .*(data|nullptr|NULL)", loaded.lb_error())


def test_what_does_not_link_is_a_bug_with_the_linkers_words() -> None:
    with pytest.raises(BugError, match=r"the host library does not link: (.|\n)*no_such_kernel"):
        link_library([], "extern int no_such_kernel(void); int lb_segment_0(void) { return no_such_kernel(); }", resolve_target())


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="no cross compiler for aarch64 is installed")
def test_another_architecture_is_cross_compiled(tmp_path: Path) -> None:
    artifact = example("llvm -mtriple=aarch64-linux-gnu -mattr=+neon")
    path = tmp_path / "host.so"
    path.write_bytes(artifact.sections[HOST_LIBRARY])
    assert "AArch64" in _readelf("-h", path)
    assert artifact.target.triple == "aarch64-linux-gnu"


_built = functools.cache(example)

_needs_objdump = pytest.mark.skipif(
    shutil.which("objdump") is None or resolve_target().record.triple != "x86_64-linux-gnu", reason="needs objdump on an x86-64 machine"
)


@_needs_objdump
@pytest.mark.parametrize(("processor", "has"), [("x86-64-v3", False), pytest.param("x86-64-v4", True, marks=pytest.mark.long)])
def test_code_has_instructions_of_avx512_only_where_the_target_has_it(processor: str, has: bool, tmp_path: Path) -> None:
    path = tmp_path / "host.so"
    path.write_bytes(_built(f"llvm -mcpu={processor}").sections[HOST_LIBRARY])
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(path)], check=True, capture_output=True, text=True).stdout
    assert "%ymm" in text
    assert bool(re.search(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|\{%k\d", text)) == has  # what only AVX-512 has


@pytest.mark.long
@pytest.mark.skipif(bool(reason := why_not_executed(HASWELL)), reason=reason)
def test_code_for_a_processor_without_avx512_runs_on_one_that_qemu_emulates() -> None:
    artifact = example(X86_64_V3)
    random = np.random.default_rng(0)
    inputs = {"x": random.random((3, 16), "float32"), "big": random.random((512, 1024), "float32")}
    found, expected = EmulatedRun(artifact, HASWELL)(**inputs), HostRun(artifact)(**inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("target", ["llvm -mcpu=x86-64", "llvm -mcpu=x86-64-v3"])
def test_an_old_processor_of_this_architecture_is_a_target(target: str) -> None:
    if resolve_target().record.triple != "x86_64-linux-gnu":
        pytest.skip("not an x86-64 machine")
    artifact = _built(target)  # float16 needs conversions in software without f16c: they must be in the library
    assert artifact.target.cpu == target.partition("=")[2]
    assert ("avx2" in artifact.target.cpu_features) == (target == "llvm -mcpu=x86-64-v3")
    assert load_library(artifact.sections[HOST_LIBRARY]).lb_error() == b""
