"""``landbridge diff``: what two artifacts differ in, and when they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om


def diff(capsys: pytest.CaptureFixture[str], first: Path, second: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["diff", str(first), str(second), *words])
    return status, capsys.readouterr().out


def test_a_copy_is_equal(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(files / "model.lbr", files / "copy.lbr")
    assert diff(capsys, files / "model.lbr", files / "copy.lbr") == (0, f"{files / 'model.lbr'} and {files / 'copy.lbr'} are equal\n")
    status, text = diff(capsys, files / "model.lbr", files / "copy.lbr", "--json")
    assert (status, json.loads(text)["equal"], json.loads(text)["differences"]) == (0, True, [])


def test_another_offline_model_shows_in_its_file_its_gears_and_the_memory(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["split", str(files / "model.onnx"), "--inputs", "clean", "--outputs", "score", "-o", str(files / "part.onnx")])
    (files / "other").mkdir()
    (files / "other" / "middle.om").write_bytes(make_om(str(files / "part.onnx"), gears=(1, 8), name="middle", soc="Ascend310P3"))
    region = f"atlas0:{files / 'other' / 'middle.om'};inputs=clean;outputs=score"
    assert main(["compile", str(files / "model.onnx"), "-o", str(files / "other.lbr"), "--replace", region]) == 0
    status, text = diff(capsys, files / "model.lbr", files / "other.lbr")
    assert status == 1
    lines = text.splitlines()
    assert "offline models" in lines
    assert "  ~ middle.om batch gears: 1, 2, 4 -> 1, 8" in lines
    assert any(line.startswith("  ~ middle.om file: sha256:") for line in lines)
    assert "  ~ atlas0" in text
    assert "crossings" not in lines
    assert "interface" not in lines
    back = diff(capsys, files / "other.lbr", files / "model.lbr")[1]
    assert "  ~ middle.om batch gears: 1, 8 -> 1, 2, 4" in back.splitlines()


def test_what_only_one_has_is_said(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = diff(capsys, files / "host.lbr", files / "model.lbr")
    assert status == 1
    assert "crossings\n  + clean cpu -> atlas0: float32 [n, 4], n*16 bytes\n  + score atlas0 -> cpu: float32 [n, 4], n*16 bytes\n" in text
    assert "  + middle.om: atlas on atlas0\n" in text
    status, text = diff(capsys, files / "model.lbr", files / "host.lbr", "--json")
    changes = [change for change in json.loads(text)["differences"] if change["part"] == "crossings"]
    assert changes[0] == {"part": "crossings", "what": "clean cpu -> atlas0", "before": "float32 [n, 4], n*16 bytes", "after": ""}


def test_what_is_no_artifact_is_an_error(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(files / "model.lbr"), str(files / "model.onnx")]) == 1
    assert "error: " in capsys.readouterr().err
