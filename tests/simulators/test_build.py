"""Building a simulator's library: once, safely, and with a clear error where it cannot be built."""

from __future__ import annotations

import ctypes as C
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from landbridge.runtime.cache_folder import CACHE
from landbridge.runtime.errors import DeviceError
from landbridge.simulators import ascend, build, cambricon
from landbridge.simulators.build import build_folder, build_library, find_compiler

SOURCE = '#include "answer.h"\n__attribute__((visibility("default"))) int answer(void) { return ANSWER; }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small library's sources, and a cache of its own."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache" / "landbridge"))
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "answer.h").write_text("#define ANSWER 42\n")
    (folder / "answer.c").write_text(SOURCE)
    return folder


def answer(path: Path) -> int:
    return int(C.CDLL(str(path)).answer())


def test_a_library_is_built_once(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_library("libanswer.so", sources)
    assert answer(path) == 42
    assert path.is_relative_to(build_folder())
    monkeypatch.setattr(build, "_compile", lambda *arguments: pytest.fail("it was built again"))
    assert build_library("libanswer.so", sources) == path
    assert [file.name for file in path.parent.parent.iterdir()] == [path.parent.name]


def test_a_changed_source_or_header_is_another_library(sources: Path) -> None:
    first = build_library("libanswer.so", sources)
    (sources / "answer.h").write_text("#define ANSWER 43\n")
    second = build_library("libanswer.so", sources)
    assert (answer(first), answer(second)) == (42, 43)
    (sources / "answer.c").write_text(SOURCE.replace("ANSWER;", "ANSWER + 1;"))
    assert answer(build_library("libanswer.so", sources)) == 44


def test_a_changed_shared_source_or_header_is_another_library(sources: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (sources / "answer.c").rename(shared / "answer.c")
    (sources / "answer.h").rename(shared / "answer.h")
    (sources / "own.c").write_text("int own(void) { return 0; }\n")
    assert answer(build_library("libanswer.so", sources, [shared / "answer.c"])) == 42
    (shared / "answer.h").write_text("#define ANSWER 43\n")
    assert answer(build_library("libanswer.so", sources, [shared / "answer.c"])) == 43
    (shared / "answer.c").write_text(SOURCE.replace("ANSWER;", "ANSWER + 1;"))
    assert answer(build_library("libanswer.so", sources, [shared / "answer.c"])) == 44


def test_processes_may_build_at_the_same_time(sources: Path) -> None:
    script = f"""
import ctypes, pathlib
from landbridge.simulators.build import build_library
print(ctypes.CDLL(str(build_library("libanswer.so", pathlib.Path({str(sources)!r})))).answer())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(build.__file__).parents[2])}
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) for _ in range(4)]
    assert [process.communicate(timeout=120)[0] for process in processes] == [b"42\n"] * 4
    assert len(list(build_folder().iterdir())) == 1


def test_no_compiler_is_an_error_that_says_what_to_do(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(sources))
    with pytest.raises(DeviceError) as caught:
        build_library("libanswer.so", sources)
    assert str(caught.value) == (
        "no C compiler found to build the simulator with (tried cc, gcc, clang)\n  hint: install gcc or clang, or set CC to one"
    )
    monkeypatch.setenv("CC", "icc -fast")
    with pytest.raises(DeviceError, match=r"\(\$CC is 'icc'\)"):
        find_compiler()


def test_cc_may_have_arguments(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -DANSWER_FROM=1")
    plain = find_compiler()
    assert plain == [shutil.which("cc"), "-DANSWER_FROM=1"]
    assert answer(build_library("libanswer.so", sources)) == 42


def test_what_the_compiler_says_is_in_the_error(sources: Path) -> None:
    (sources / "answer.c").write_text("int answer(void) { return nothing; }\n")
    with pytest.raises(DeviceError, match=r"(?s)failed with exit code 1:.*nothing.*hint: set CC to one that works"):
        build_library("libanswer.so", sources)
    assert list(build_folder().iterdir()) == []


def test_a_cache_that_others_can_write_is_not_used(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    folder = tmp_path / "cache" / "landbridge" / "simulators"
    assert build_folder() == folder
    folder.chmod(0o777)
    assert build_folder() == tmp_path / "temporary" / f"landbridge-{os.getuid()}" / "simulators"
    assert answer(build_library("libanswer.so", sources)) == 42
    build_folder().chmod(0o777)
    with pytest.raises(DeviceError, match="no folder for built simulators"):
        build_folder()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("library", [ascend.library, cambricon.library])
def test_a_simulator_compiles_without_a_warning(
    compiler: str, library: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setenv("CC", f"{compiler} -Werror")
    assert library().is_file()


def test_every_folder_with_c_sources_ships_them() -> None:
    folder = Path(build.__file__).parent
    shipped = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    places = {f"landbridge.simulators.{file.parent.name}" for file in folder.rglob("*.c")}
    assert "landbridge.simulators.common" in places
    assert {place: shipped.get(place) for place in places} == {place: ["*.c", "*.h"] for place in places}


def test_a_source_is_at_most_500_lines_of_at_most_140_columns() -> None:
    files = [file for file in Path(build.__file__).parent.rglob("*") if file.suffix in {".c", ".h"}]
    assert len(files) > 10
    assert [file.name for file in files if len(file.read_text().splitlines()) > 500] == []
    assert [file.name for file in files if any(len(line) > 140 for line in file.read_text().splitlines())] == []
