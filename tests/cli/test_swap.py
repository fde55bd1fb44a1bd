from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from landbridge.cli import main
from landbridge.runtime.artifact import read, read_manifest
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model


@pytest.fixture
def blob(tmp_path: Path, files: Path) -> Path:
    shutil.copy(files / "model.lbr", tmp_path / "model.lbr")
    shape = ("float32", ("n", 4))
    file = tmp_path / "new.om"
    file.write_bytes(make_om(small_model([node("Tanh", "clean", "score")], {"clean": shape}, {"score": shape}), gears=(1, 2, 3)))
    return file


def test_swap_tells_what_changed(blob: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = blob.parent / "model.lbr"
    assert main(["swap", str(path), "--model", "middle.om", "--blob", str(blob)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{path}: middle.om is {blob} now\n  gears: 1, 2, 4 -> 1, 2, 3\n")
    assert shown.out.endswith(f"digest sha256:{read(path).digest}\n")
    assert shown.err == ""


def test_signatures_are_dropped_with_a_warning(blob: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography")
    path, key = blob.parent / "model.lbr", blob.parent / "release"
    assert main(["keygen", str(key)]) == 0
    assert main(["sign", str(path), "--key", f"{key}.key"]) == 0
    capsys.readouterr()
    assert main(["swap", str(path), "--model", "middle.om", "--blob", str(blob), "--json"]) == 0
    shown = capsys.readouterr()
    facts = json.loads(shown.out)
    assert shown.err == "warning: its 1 signature did not hold any more: sign it again\n"
    assert (facts["signatures_dropped"], facts["model"], facts["digest"]) == (1, "middle.om", read(path).digest)
    assert read_manifest(path).signatures == ()


def test_what_does_not_fit_is_a_failure(blob: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["swap", str(files / "host.lbr"), "--model", "middle.om", "--blob", str(blob)]) == 2
    assert "it has no offline model 'middle.om'\n  hint: there are: none" in capsys.readouterr().err
    assert main(["swap", str(blob), "--model", "middle.om", "--blob", str(blob)]) == 1
    assert main(["swap", str(files / "model.lbr"), "--model", "middle.om", "--blob", str(files / "nothing.om")]) == 1
    assert "nothing.om: No such file or directory" in capsys.readouterr().err
