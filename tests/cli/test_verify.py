"""``landbridge verify``: what agrees, what does not, and which region is to blame."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from landbridge.cli import main
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))


def other_model(files: Path, name: str, **operators: str) -> Path:
    """Write the model with other operators for some of its values."""
    chosen = {"clean": "Relu", "score": "Sigmoid", "result": "Neg"} | operators
    sources = {"clean": "image", "score": "clean", "result": "score"}
    model = small_model([node(chosen[value], source, value) for value, source in sources.items()], {"image": SHAPE}, {"result": SHAPE})
    path = files / name
    path.write_bytes(model.SerializeToString())
    return path


def verify(capsys: pytest.CaptureFixture[str], artifact: Path, reference: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["verify", str(artifact), "--reference", str(reference), "--simulate", "atlas", *words])
    return status, capsys.readouterr().out


def test_an_artifact_agrees_with_its_model_at_every_border(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = verify(capsys, files / "model.lbr", files / "model.onnx", "--dim", "n=5")
    assert status == 0
    lines = [line.split("  ") for line in text.splitlines()]
    assert [line[0] for line in lines[1:4]] == ["ok", "ok", "ok"]
    assert "into middle.om on atlas0" in text
    assert "out of middle.om on atlas0" in text
    assert "3 of 3 values agree with model.onnx, computed by onnxruntime\nsimulated: atlas\n" in text


def test_the_offline_model_is_named_where_its_result_is_the_first_that_differs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = verify(capsys, files / "model.lbr", other_model(files, "tanh.onnx", score="Tanh"))
    assert status == 1
    assert "1 of 3 values agree with tanh.onnx" in text
    assert "the first that differs is 'score' out of middle.om on atlas0, made by middle.om on atlas0 (by atlas)" in text


@pytest.mark.parametrize(("value", "operator", "blamed"), [("clean", "Abs", "clean"), ("result", "Abs", "result")])
def test_the_cpus_code_is_named_by_its_operators(
    value: str, operator: str, blamed: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = verify(capsys, files / "model.lbr", other_model(files, f"{value}.onnx", **{value: operator}))
    assert status == 1
    assert f"made by the CPU's code for {blamed}\n" in text


def test_json_has_every_figure(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(files / "in.npz", image=np.array([[0, 1, 2, 3]], "float32"))
    tanh = other_model(files, "tanh.onnx", score="Tanh")
    status, text = verify(capsys, files / "model.lbr", tanh, "-i", str(files / "in.npz"), "--json")
    data = json.loads(text)
    assert (status, data["agrees"], data["simulated"], data["computed_by"]) == (1, False, ["atlas"], "onnxruntime")
    score = next(entry for entry in data["values"] if entry["where"] == "out of middle.om on atlas0")
    assert (score["name"], score["count"], score["first"], score["nans"]) == ("score", 4, [0, 0], [0, 0])
    assert score["found"] == pytest.approx(0.5)
    assert score["expected"] == 0
    half, tanh_of = 1 / (1 + np.exp(-np.arange(4.0))), np.tanh(np.arange(4.0))  # what the two make of 0, 1, 2, 3
    assert score["max_abs"] == pytest.approx(np.abs(half - tanh_of).max(), rel=1e-2)
    assert score["max_rel"] == pytest.approx((np.abs(half - tanh_of)[1:] / tanh_of[1:]).max(), rel=1e-2)
    assert score["cosine"] == pytest.approx(half @ tanh_of / np.linalg.norm(half) / np.linalg.norm(tanh_of), rel=1e-3)
    assert score["infs"] == [0, 0]


def test_tolerances_are_the_callers_where_given(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(capsys, files / "model.lbr", files / "model.onnx", "--rtol", "1e-9")[0] == 1  # the offline model works in float16
    assert verify(capsys, files / "model.lbr", other_model(files, "tanh.onnx", score="Tanh"), "--atol", "3")[0] == 0
    assert verify(capsys, files / "model.lbr", files / "model.onnx", "--atol", "-1")[0] == 2


def test_a_value_that_the_reference_has_not_is_said(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("Relu", "image", "other"), node("Sigmoid", "other", "score"), node("Neg", "score", "result")]
    model = small_model(nodes, {"image": SHAPE}, {"result": SHAPE})
    (files / "renamed.onnx").write_bytes(model.SerializeToString())
    status, text = verify(capsys, files / "model.lbr", files / "renamed.onnx")
    assert status == 0
    assert "not compared: clean into middle.om on atlas0: renamed.onnx has no such value\n" in text


def test_a_reference_of_something_else_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model([node("Relu", "picture", "y")], {"picture": SHAPE}, {"y": SHAPE})
    (files / "else.onnx").write_bytes(model.SerializeToString())
    assert main(["verify", str(files / "host.lbr"), "--reference", str(files / "else.onnx")]) == 1
    assert "error: else.onnx: the reference has no input 'image'" in capsys.readouterr().err


def test_without_onnxruntime_the_evaluator_of_onnx_computes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.dict(sys.modules, {"onnxruntime": None}):
        status, text = verify(capsys, files / "host.lbr", files / "model.onnx")
    assert status == 0
    assert "1 of 1 values agree with model.onnx, computed by onnx\n" in text


def test_what_the_reference_cannot_compute_is_one_message(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(
        [node("Reshape", "image shape", "result")], {"image": SHAPE}, {"result": ("float32", (3,))}, {"shape": np.array([3])}
    )
    (files / "reshape.onnx").write_bytes(model.SerializeToString())
    assert main(["verify", str(files / "host.lbr"), "--reference", str(files / "reshape.onnx")]) == 1
    assert "error: reshape.onnx: the reference cannot be computed: " in capsys.readouterr().err
