from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from landbridge.codegen.object_cache import ObjectCache


def test_what_was_put_is_got_by_another(tmp_path: Path) -> None:
    ObjectCache(tmp_path).put("kernel_1", b"object")
    assert ObjectCache(tmp_path).get("kernel_1") == b"object"
    assert ObjectCache(tmp_path).get("kernel_2") is None
    assert [file.name for file in tmp_path.iterdir()] == ["kernel_1.o"]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:7], lambda data: b"", lambda data: data[:40] + b"X" + data[41:]]
)
def test_a_damaged_object_is_not_there(damage: object, tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    cache.put("kernel", b"an object of some bytes")
    file = tmp_path / "kernel.o"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]  # a parameter
    assert cache.get("kernel") is None
    cache.put("kernel", b"another")
    assert cache.get("kernel") == b"another"


def test_without_a_folder_nothing_is_kept() -> None:
    cache = ObjectCache(None)
    cache.put("kernel", b"object")
    cache.prune(0)
    assert cache.get("kernel") is None


def test_a_folder_that_went_away_fails_nothing(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "gone")
    cache.put("kernel", b"object")
    assert cache.get("kernel") is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    ObjectCache(tmp_path).put("kernel", b"object")
    assert list(tmp_path.iterdir()) == []


def test_pruning_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    for age, name in enumerate("abcd"):
        cache.put(name, bytes(68))  # a hundred bytes with the digest
        os.utime(tmp_path / f"{name}.o", (1000 - age, 1000 - age))
    assert cache.get("d") is not None  # the oldest, but used now
    cache.prune(250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.o", "d.o"]


def test_many_may_write_one_object_while_others_read_it(tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(4)]
    wrong: list[bytes] = []

    def write(content: bytes) -> None:
        for _ in range(50):
            ObjectCache(tmp_path).put("kernel", content)
            found = ObjectCache(tmp_path).get("kernel")
            if found not in contents:
                wrong.append(found or b"")

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [file.name for file in tmp_path.iterdir()] == ["kernel.o"]
