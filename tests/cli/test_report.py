"""``landbridge report`` and ``compile --report``: what is written where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from landbridge.cli import main
from landbridge.runtime import artifact as artifacts


def profiled(files: Path, artifact: str, trace: Path) -> Path:
    command = ["run", str(files / artifact), "--fill", "ones", "--dim", "n=2", "--profile", str(trace), "-q"]
    assert main([*command, *(["--simulate", "atlas"] if artifact == "model.lbr" else [])]) == 0
    return trace


def test_a_page_with_the_timeline_of_a_run(files: Path, tmp_path: Path) -> None:
    trace = profiled(files, "model.lbr", tmp_path / "trace.json")
    page = tmp_path / "page.html"
    assert main(["report", str(files / "model.lbr"), "--html", str(page), "--profile", str(trace), "--dim", "n=2"]) == 0
    html = page.read_text(encoding="utf-8")
    assert '"trace":[["cpu",0,"host",' in html
    assert '"extents":{"n":2}' in html


def test_a_trace_of_another_artifact_is_refused(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = profiled(files, "host.lbr", tmp_path / "trace.json")
    assert main(["report", str(files / "model.lbr"), "--html", str(tmp_path / "page.html"), "--profile", str(trace)]) == 2
    error = capsys.readouterr().err
    assert "error: the trace is of another artifact: sha256:" in error
    assert "hint: profile this artifact: landbridge run ARTIFACT --profile trace.json" in error
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "t.json"], "--profile: a trace is shown in the page\n  hint: give --html F.html too"),
        (["--html", "page.pdf"], "--html 'page.pdf': unknown kind of file '.pdf'\n  hint: end its name in .html"),
        (["--html", "page.html", "--profile", "{files}/model.onnx"], "{files}/model.onnx: not a trace: "),
        (["--dim", "m=3"], "--dim m: the program has no such dimension"),
    ],
)
def test_wrong_use_is_explained(
    words: list[str], message: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(files / "model.lbr"), *(word.format(files=files) for word in words)]) == 2
    assert message.format(files=files) in capsys.readouterr().err


def test_the_same_from_compile_in_files_of_both_kinds(files: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    region = f"atlas0:{files / 'middle.om'};inputs=clean;outputs=score"
    command = ["compile", str(files / "model.onnx"), "-o", str(tmp_path / "m.lbr"), "--replace", region, "--dim", "n=2"]
    assert main([*command, "--report", str(page), "--report", str(data), "--memory-budget", "atlas0=1GiB"]) == 0
    found = json.loads(data.read_text())
    assert [copy["value"] for copy in found["copies"]] == ["clean", "score"]
    assert {memory["device"] for memory in found["memory"]} == {"cpu", "atlas0"}
    assert (found["budgets"], found["predicted"]) == ({"atlas0": 2**30}, None)
    assert "class Graph" in page.read_text()
    assert f'"digest":"{artifacts.read(tmp_path / "m.lbr").digest}"' in page.read_text()
