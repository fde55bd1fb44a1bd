"""``landbridge bench``: figures, in text and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import landbridge
from landbridge.cli import main

PHASES = ["inputs", "host", "copy in", "execute", "copy out", "outputs", "elsewhere"]


def test_the_table_has_every_phase_and_says_what_was_simulated(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = [
        "--simulate",
        "atlas",
        "--dim",
        "n=3",
        "--repeat",
        "4",
        "--concurrency",
        "2",
        "--stream",
        "--reference",
        str(files / "model.onnx"),
    ]
    assert main(["bench", str(files / "model.lbr"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model.lbr: 4 runs after 10 to warm up; the first took ")
    assert lines[1].split() == ["ms", "p50", "p90", "p99", "min", "max", "share"]
    assert [line[2:].split("  ")[0] for line in lines[3:10]] == PHASES
    assert lines[10].startswith("onnxruntime with model.onnx ")
    assert lines[11].startswith("2 callers at once ")
    assert lines[12].startswith("throughput: ")
    assert lines[12].endswith(" as a stream")
    assert lines[-1] == "simulated: atlas (its times say nothing about the hardware)"
    assert not any("times as long as onnxruntime" in line for line in lines)


def test_json_has_the_same_figures(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = ["--repeat", "5", "--warm-up", "0", "--reference", str(files / "model.onnx"), "--json"]
    assert main(["bench", str(files / "host.lbr"), *words]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["runs"], data["simulated"], data["concurrency"]) == (5, [], None)
    assert list(data["phases_ns"]) == PHASES
    assert data["latency_ns"]["min"] <= data["latency_ns"]["p50"] <= data["latency_ns"]["p99"] <= data["latency_ns"]["max"]
    assert data["reference"]["by"] == "onnxruntime with model.onnx"
    assert data["reference_latency_ns"]["p50"] > 0
    assert sum(data["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "words", [["--repeat", "0"], ["--seconds", "-1"], ["--seconds", "nan"], ["--concurrency", "0"], ["--warm-up", "-1"]]
)
def test_numbers_that_cannot_be_are_wrong_usage(words: list[str], files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(files / "host.lbr"), *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {words[0]} ")


def test_measuring_and_comparing_artifacts_needs_no_compiler(files: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('tvm', 'tvm_ffi', 'onnx', 'networkx', 'onnxruntime'): sys.modules[name] = None\n"
        "from landbridge.cli import main\n"
        "artifact = sys.argv[1]\n"
        "assert main(['bench', artifact, '--repeat', '2']) == 0\n"
        "assert main(['diff', artifact, artifact]) == 0\n"
        "assert main(['verify', artifact, '--reference', 'model.onnx']) == 1\n"
    )
    source = str(Path(landbridge.__file__).parents[1])
    environment = {"PYTHONPATH": source, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code, str(files / "host.lbr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    message = "error: verify needs the compiler\n  hint: pip install 'landbridge[compiler]'\n  code: LB1002 (landbridge explain LB1002)\n"
    assert (done.returncode, done.stderr) == (0, message)


@pytest.mark.parametrize("verb", ["bench", "run"])
def test_the_threads_of_host_code_are_an_option(verb: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [verb, str(files / "model.lbr"), "--simulate", "atlas", "--fill", "ones", "--repeat", "1", "--threads"]
    assert main([*words, "1"]) == 0
    capsys.readouterr()
    assert main([*words, "0"]) != 0
    assert "0 threads" in capsys.readouterr().err
