from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.runtime.cache_folder import CACHE, cache_folder, private_folder


def test_the_variable_names_the_folder_else_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "own"))
    assert cache_folder("kernels") == tmp_path / "own" / "kernels"
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder("kernels") == tmp_path / "cache" / "landbridge" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("kernels") == tmp_path / "home" / ".cache" / "landbridge" / "kernels"


def test_an_empty_variable_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CACHE, "")
    assert cache_folder("kernels") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_into_is_not_used(mode: int, tmp_path: Path) -> None:
    assert private_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "new").chmod(mode)
    assert private_folder(tmp_path / "new") is None


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert private_folder(tmp_path / "file" / "kernels") is None
