from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from landbridge.runtime import host_library as module
from landbridge.runtime import load
from landbridge.runtime.artifact import Target, to_bytes
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactIncompatible
from landbridge.runtime.host_library import check_machine, load_host_library
from landbridge.runtime.plan import Segment
from support.host_code import SOURCE, compile_c, host_library
from support.plans import artifact, host_plan


def numbered(number: int) -> bytes:
    """Return a library whose function ``number`` returns it."""
    return compile_c(f'const char *lb_error(void) {{ return ""; }} int number(void **b, const long *d) {{ return {number}; }}')


def call(data: bytes) -> int:
    return int(load_host_library(data).function("number")(None, None))


def test_the_same_bytes_are_loaded_once() -> None:
    first = load_host_library(host_library())
    assert load_host_library(memoryview(bytes(host_library()))) is first
    assert first.digest == hashlib.sha256(host_library()).hexdigest()
    assert first.error() == ""


def test_a_library_says_how_buffers_are_aligned_and_an_older_one_was_made_for_64() -> None:
    said = compile_c('const char *lb_error(void) { return ""; } const int lb_alignment = 16;')
    assert [load_host_library(data).alignment for data in (said, numbered(4))] == [16, 64]


def test_different_bytes_run_different_code() -> None:
    assert [call(numbered(number)) for number in (1, 2, 1, 3)] == [1, 2, 1, 3]


def test_the_loaded_bytes_cannot_be_changed() -> None:
    descriptor = module._sealed_file(b"bytes")
    try:
        for change in (lambda: os.write(descriptor, b"x"), lambda: os.ftruncate(descriptor, 0), lambda: os.pwrite(descriptor, b"x", 99)):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(descriptor)


def test_without_memory_files_a_private_directory_stands_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(data: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module, "_sealed_file", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert [call(numbered(number)) for number in (11, 12)] == [11, 12]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtifactIncompatible) as caught:
        load_host_library(b"not a library")
    assert str(caught.value).startswith("code/host.so: the host library does not load: ")
    assert caught.value.hint == "as a memory file: [Errno 1] Operation not permitted"


def test_a_library_with_a_missing_symbol_is_refused_when_it_is_loaded() -> None:
    source = 'extern int nowhere(void); const char *lb_error(void) { return ""; } int f(void) { return nowhere(); }'
    with pytest.raises(ArtifactIncompatible, match="undefined symbol: nowhere"):
        load_host_library(compile_c(source))


def test_a_library_without_the_expected_functions_is_refused() -> None:
    with pytest.raises(ArtifactCorrupt) as caught:
        load_host_library(compile_c("int f(void) { return 0; }"))
    assert str(caught.value) == "code/host.so: the host library has no function 'lb_error'"
    made = artifact(host_plan(), sections={"code/host.so": numbered(5)})
    with pytest.raises(ArtifactCorrupt) as caught:
        load(to_bytes(made))
    assert str(caught.value) == "code/host.so: the host library has no function 'lb_add'"
    assert isinstance(host_plan().steps[0], Segment)


def test_no_library_is_opened_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    sections = {"code/host.so": compile_c(SOURCE + "int unused;")}
    made = artifact(host_plan(), sections=sections, target=Target("riscv64-linux-gnu"))
    with pytest.raises(ArtifactIncompatible) as caught:
        load(to_bytes(made))
    machine = module.platform.machine()  # type: ignore[attr-defined] # the module's own view of the machine
    assert str(caught.value) == (
        f"target.triple: compiled for riscv64, this machine is {machine}\n  hint: compile for this machine: --target with {machine}"
    )


def test_a_processor_that_lacks_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cpu_features", lambda: frozenset({"sse2", "avx2"}))
    check_machine("", ("avx2", "sse2"))
    with pytest.raises(ArtifactIncompatible) as caught:
        check_machine("", ("avx2", "fma", "avx512f"))
    assert str(caught.value) == (
        "target.cpu_features: compiled for a processor with avx2 fma avx512f, this one lacks fma avx512f\n"
        "  hint: compile for this processor, or for a more general one such as --target 'llvm -mcpu=x86-64'"
    )


def test_features_of_this_processor_are_known() -> None:
    assert module._cpu_features()


def test_other_names_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    check_machine("aarch64-linux-gnu", ())
    check_machine("arm64-apple-darwin", ())
    check_machine("", ())


def test_a_process_that_loaded_code_ends_cleanly(tmp_path: Path) -> None:
    (tmp_path / "m.lbr").write_bytes(to_bytes(artifact(host_plan())))
    code = "import numpy, sys, landbridge.runtime as r; print(r.load(sys.argv[1])(numpy.ones((1, 3), 'float32'))['y'].tolist())"
    command = [sys.executable, "-c", code, str(tmp_path / "m.lbr")]
    path = str(Path(__file__).parents[2] / "src")
    result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path}, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("[[22.0, 42.0, 62.0]]\n", "", 0)
