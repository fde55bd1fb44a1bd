from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from landbridge.cli import main


def test_what_is_exported_compiles_to_the_same(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, artifact = tmp_path / "context.onnx", tmp_path / "context.lbr"
    region = f"atlas0:{files / 'middle.om'};inputs=clean;outputs=score"
    assert main(["export", "--ep-context", str(files / "model.onnx"), "-o", str(out), "--replace", region]) == 0
    assert capsys.readouterr().out == f"{out}: 3 nodes, 1 of them EPContext\n  middle.om: clean -> score\n"
    assert main(["compile", str(out), "-o", str(artifact)]) == 0
    results = []
    for path in (files / "model.lbr", artifact):
        assert main(["run", str(path), "--fill", "random", "--dim", "n=3", "--simulate", "atlas", "-o", str(tmp_path / "out.npz")]) == 0
        results.append(np.load(tmp_path / "out.npz")["result"])
    np.testing.assert_array_equal(results[0], results[1])


def test_json(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plain.onnx"
    assert main(["export", "--ep-context", str(files / "model.onnx"), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"model": str(out), "nodes": 3, "ep_context": []}


def test_the_form_must_be_said(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(files / "model.onnx"), "-o", "out.onnx"]) == 2
    assert "the following arguments are required: --ep-context" in capsys.readouterr().err
