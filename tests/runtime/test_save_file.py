from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from landbridge.runtime import save_file as module
from landbridge.runtime.save_file import save_file

ROOT = Path(__file__).parents[2]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_contents_replace_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.lbr"
    for contents in (b"old", b"new and longer", b""):
        save_file(path, [contents[:2], memoryview(contents[2:])])
        assert path.read_bytes() == contents
    assert left(tmp_path) == ["a.lbr"]


def test_it_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    save_file(tmp_path / "a.lbr", [b"x"])
    assert (tmp_path / "a.lbr").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.lbr").symlink_to(tmp_path / "there" / "b.lbr")
    save_file(tmp_path / "a.lbr", [b"x"])
    assert (tmp_path / "a.lbr").is_symlink()
    assert (tmp_path / "there" / "b.lbr").read_bytes() == b"x"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    path = tmp_path / "a.lbr"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        save_file(path, chunks())
    assert path.read_bytes() == b"old"
    assert left(tmp_path) == ["a.lbr"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.lbr"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_file(path, [b"new"])
    assert path.read_bytes() == b"old"
    assert left(tmp_path) == ["a.lbr"]


def test_a_directory_that_cannot_be_synced_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(directory: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "_sync_directory", broken)
    path = tmp_path / "a.lbr"
    with pytest.raises(OSError, match="Input/output error") as caught:
        save_file(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert caught.value.__notes__ == [f"{path} is complete and in place, but might not survive a loss of power"]


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        save_file(tmp_path, [b"new"])
    assert caught.value.filename == str(tmp_path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_file(tmp_path / "none" / "a.lbr", [b"x"])


def tried(what: str, folder: Path, size: int, *how: str, preload: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `support.saves` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", **({"LD_PRELOAD": str(preload)} if preload else {})}
    command = [sys.executable, "-m", "support.saves", what, str(folder), str(size), *how]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)


def numbers(result: subprocess.CompletedProcess[str]) -> list[int]:
    assert result.returncode == 0, result.stderr[-2000:]
    return [int(number) for number in result.stdout.split()]


@pytest.fixture(scope="module")
def failing_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    path = tmp_path_factory.mktemp("preload") / "failing_calls.so"
    source = ROOT / "tests" / "support" / "failing_calls.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True)
    return path


def test_each_system_call_fails_in_its_turn(tmp_path: Path, failing_calls: Path) -> None:
    """Where an error has no note the file is the old one, and the next save leaves nothing else."""
    runs, told = numbers(tried("calls", tmp_path, 0, preload=failing_calls))
    assert runs >= 6 * 9
    assert told >= runs // 2, "interrupted calls are made again, and what the sweep cannot do is left to the next save"


def test_the_enumeration_of_system_calls_notices_a_file_written_in_place(tmp_path: Path, failing_calls: Path) -> None:
    result = tried("calls", tmp_path, 0, "in place", preload=failing_calls)
    assert "AssertionError" in result.stderr


@pytest.mark.parametrize("size", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_killed_writers_leave_the_old_or_the_new_file_and_the_next_save_cleans_up(tmp_path: Path, size: int) -> None:
    killed, changed = numbers(tried("kills", tmp_path, size))
    assert killed == size
    assert changed > size // 20


@pytest.mark.parametrize("seconds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_two_writers_and_four_readers(tmp_path: Path, seconds: int) -> None:
    (reads,) = numbers(tried("readers", tmp_path, seconds))
    assert reads > 50 * seconds


@pytest.mark.parametrize(("what", "size"), [("kills", 100), ("readers", 1)])
def test_kills_and_readers_notice_a_file_written_in_place(tmp_path: Path, what: str, size: int) -> None:
    assert "damaged" in tried(what, tmp_path, size, "in place").stderr


def test_a_writer_that_lives_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.lbr"
    inside, go_on = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"slow"
        inside.set()
        assert go_on.wait(20)

    thread = threading.Thread(target=save_file, args=(path, chunks()))
    thread.start()
    assert inside.wait(20)
    (tmp_path / ".a.lbr.1.dead.tmp").write_bytes(b"of a dead writer")
    (tmp_path / ".a.lbr.notes").write_bytes(b"not ours")
    save_file(path, [b"quick"])
    names = left(tmp_path)
    assert path.read_bytes() == b"quick"
    go_on.set()
    thread.join()
    assert [name for name in names if name.endswith(".tmp")] == [name for name in names if f".{os.getpid()}." in name]
    assert len(names) == 3
    assert path.read_bytes() == b"slow"
    assert left(tmp_path) == [".a.lbr.notes", "a.lbr"]


def test_many_writers_and_a_reader_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a.lbr"
    save_file(path, [b"\0" * 65536])

    def work(value: int) -> None:
        for _ in range(10):
            save_file(path, [bytes([value]) * 4096] * 16)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        data = path.read_bytes()
        assert len(data) == 65536
        assert len(set(data)) == 1
    for thread in threads:
        thread.join()
    assert left(tmp_path) == ["a.lbr"]
