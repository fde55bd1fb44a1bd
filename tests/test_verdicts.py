from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from landbridge.runtime.cache_folder import CACHE
from landbridge.verdicts import Verdicts, code_digest, key_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path))
    return tmp_path


def test_a_verdict_is_seen_by_the_next_reader_of_the_same_code() -> None:
    Verdicts("kind", "a" * 64).add("key", "why")
    assert Verdicts("kind", "a" * 64).get("key") == "why"
    assert Verdicts("kind", "b" * 64).get("key") is None
    assert Verdicts("other", "a" * 64).get("key") is None


def test_a_verdict_can_stay_in_this_process(folder: Path) -> None:
    verdicts = Verdicts("kind", "a" * 64)
    verdicts.add("key", "why", keep=False)
    assert verdicts.get("key") == "why"
    assert not list((folder / "kind").iterdir())


def test_lines_that_are_not_whole_are_not_there(folder: Path) -> None:
    Verdicts("kind", "a" * 64).add("key", "")
    (file,) = (folder / "kind").iterdir()
    file.write_bytes(b'["cut", "o\n[1, 2]\nnull\n\xff\n' + file.read_bytes() + b'["last", ""')
    verdicts = Verdicts("kind", "a" * 64)
    assert (verdicts.get("key"), verdicts.get("cut"), verdicts.get("last")) == ("", None, None)


def test_a_folder_that_cannot_be_written_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv(CACHE, str(folder / "file"))
    verdicts = Verdicts("kind", "a" * 64)
    verdicts.add("key", "why")
    assert verdicts.get("key") == "why"
    monkeypatch.setenv(CACHE, "")
    Verdicts("kind", "a" * 64).add("key", "why")
    assert Verdicts("kind", "a" * 64).get("key") is None


def _add_many(start: int) -> None:
    verdicts = Verdicts("kind", "a" * 64)
    for number in range(start, start + 200):
        verdicts.add(f"key{number}", "x" * 300)


def test_many_processes_add_at_once() -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_add_many, range(0, 800, 200))
    verdicts = Verdicts("kind", "a" * 64)
    assert all(verdicts.get(f"key{number}") == "x" * 300 for number in range(800))


def test_keys_tell_parts_apart(tmp_path: Path) -> None:
    assert key_of("ab", "c") != key_of("a", "bc") != key_of(b"abc")
    assert key_of("ab") == key_of(b"ab")
    (tmp_path / "a.py").write_text("1")
    assert code_digest(tmp_path, "1.0") != code_digest(tmp_path, "1.1")
