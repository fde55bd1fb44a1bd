"""A pass that crashes leaves a file, and one command replays it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from landbridge.cli import main
from landbridge.passes.hoist_casts import HoistCasts


def fails(self: HoistCasts, module: Any) -> Any:
    raise ZeroDivisionError("a bug")


def test_a_crashing_pass_is_replayed_by_one_command(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(HoistCasts, "run", fails)
        assert main(["compile", str(files / "model.onnx"), "-o", str(tmp_path / "out.lbr"), "--json"]) == 70
        printed = capsys.readouterr()
        assert "ZeroDivisionError: a bug" in printed.err
        error = json.loads(printed.out)["error"]
        assert (error["code"], error["kind"]) == ("LB9101", "PassError")
        path = re.search(r"landbridge reproduce (\S+) runs it again", error["hint"])
        assert path is not None
        assert Path(path[1]).name == "reproducer_hoist-casts.py"
        assert main(["reproduce", path[1]]) == 70  # the bug is still there
        assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    assert not (tmp_path / "out.lbr").exists()
    assert main(["reproduce", path[1]]) == 0  # and now it is not
    text = capsys.readouterr().out
    assert "def main(" in text
    assert text.endswith("hoist-casts,insert-copies,elide-casts,remove-dead,elide-copies ran, and its result verifies\n")


def test_another_file_is_no_reproducer(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "notes.py").write_text("print('hello')\n")
    assert main(["reproduce", str(files / "notes.py")]) == 2
    assert "notes.py: not a reproducer of a failed pass" in capsys.readouterr().err
