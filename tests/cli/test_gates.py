"""Limits on what a compilation may come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model


def compile_with(files: Path, *words: str) -> int:
    (files / "gated.lbr").unlink(missing_ok=True)
    region = f"atlas0:{files / 'middle.om'};inputs=clean;outputs=score"
    command = ["compile", str(files / "model.onnx"), "-o", str(files / "gated.lbr"), "--replace", region, *words]
    status = main(command)
    assert (files / "gated.lbr").exists() == (status == 0)
    return status


@pytest.mark.parametrize("budget", ["atlas0=1GiB", "atlas0=1.5 MB", "atlas:0=100000000", "cpu=1GB"])
def test_what_fits_the_budget_passes(budget: str, files: Path) -> None:
    assert compile_with(files, "--memory-budget", budget, "--dim", "n=8") == 0


def test_what_does_not_fit_names_what_was_found_and_what_is_allowed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_with(files, "--memory-budget", "cpu=64B", "--dim", "n=8") == 1
    error = capsys.readouterr().err
    assert "error: cpu needs 384 bytes (" in error
    assert "), --memory-budget allows 64\n  hint: arena 256, staging 128; a smaller batch needs less\n" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--memory-budget", "atlas0"],
            "--memory-budget 'atlas0' is not of the form DEVICE=SIZE\n"
            "  hint: as in --memory-budget atlas0=1GiB; units: B, kB, MB, GB, KiB, MiB, GiB",
        ),
        (["--memory-budget", "atlas0=1gib"], "--memory-budget 'atlas0=1gib' is not of the form DEVICE=SIZE"),
        (["--memory-budget", "=1GiB"], "--memory-budget '=1GiB' is not of the form DEVICE=SIZE"),
        (
            ["--memory-budget", "openvino0=1GiB"],
            "--memory-budget openvino0: the program does not use it\n  hint: devices in use: cpu, atlas0",
        ),
        (
            ["--memory-budget", "atlas0=1GiB"],
            "--memory-budget atlas0: what it needs depends on n\n  hint: give its largest extent, such as --dim n=8",
        ),
        (["--dim", "m=8"], "--dim m: the program has no such dimension"),
    ],
)
def test_a_wrong_limit_is_explained(words: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_with(files, *words) == 2
    assert message in capsys.readouterr().err


def test_regions_that_are_not_native_can_be_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compile_with(files, "--fail-on-fallback") == 0
    nodes = [node("Relu", "x", "clean"), node("QuickGelu", "clean", "found", domain="com.microsoft")]
    model = small_model(nodes, {"x": ("float32", (4,))}, {"found": ("float32", (4,))})
    (files / "foreign.onnx").write_bytes(model.SerializeToString())
    command = ["compile", str(files / "foreign.onnx"), "-o", str(files / "foreign.lbr")]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--fail-on-fallback"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 1 region is not native, --fail-on-fallback allows none\n  hint: found (")


@pytest.fixture(scope="session")
def converting(files: Path) -> Path:
    """The artifact of the model with an offline model that takes float16, so that values are converted on both sides."""
    shape = ("float32", ("n", 4))
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": shape}, {"score": shape})
    (files / "half.om").write_bytes(make_om(middle, gears=(1, 2, 4), input_dtype="float16", output_dtype="float16"))
    region = f"atlas0:{files / 'half.om'};inputs=clean;outputs=score"
    assert main(["compile", str(files / "model.onnx"), "-o", str(files / "half.lbr"), "--replace", region]) == 0
    return files / "half.lbr"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--max-copies", "1"],
            "2 values cross, --max-copies allows 1\n  hint: clean cpu -> atlas0, n*8 bytes; score atlas0 -> cpu, n*8 bytes",
        ),
        (["--max-copy-bytes", "9"], "how many bytes cross depends on n (values clean, score)\n  hint: give the extent, such as --dim n=8"),
        (["--max-copy-bytes", "31", "--dim", "n=2"], "32 bytes cross in a run, --max-copy-bytes allows 31"),
        (
            ["--fail-on-device-cast"],
            "2 values are converted for an offline model, --fail-on-device-cast allows none\n  hint: clean float32 -> ",
        ),
        (["--memory-budget", "atlas0=1B", "--dim", "n=1"], "--memory-budget allows 1\n  hint: workspace "),
    ],
)
def test_every_gate_holds_for_an_artifact_too(words: list[str], message: str, converting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(converting), *words]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out.startswith("2 crossings, the minimum is 2\n")
    assert main(["report", str(converting), *words, "--json"]) == 1
    assert set(json.loads(capsys.readouterr().out)) == {"error"}


@pytest.mark.parametrize(
    "words",
    [
        ["--max-copies", "2"],
        ["--max-copy-bytes", "32", "--dim", "n=2"],
        ["--fail-on-fallback"],
        ["--memory-budget", "atlas0=1GiB", "--dim", "n=1"],
    ],
)
def test_what_is_within_the_limits_passes(words: list[str], converting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(converting), *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_nbytes"] == ["*", "n", 16]


def test_what_the_program_itself_converts_is_no_device_cast(files: Path) -> None:
    shape = ("float32", ("n", 4))
    model = small_model([node("Cast", "image", "result", to=10)], {"image": shape}, {"result": ("float16", ("n", 4))})
    (files / "cast.onnx").write_bytes(model.SerializeToString())
    assert main(["compile", str(files / "cast.onnx"), "-o", str(files / "cast.lbr"), "--fail-on-device-cast"]) == 0


def test_the_report_puts_memory_against_its_budget(converting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(converting), "--memory-budget", "atlas0=1MiB", "--dim", "n=2"]) == 0
    lines = capsys.readouterr().out.split("memory in bytes for n=2\n")[1].splitlines()
    assert lines[0].split() == ["device", "arena", "constants", "weights", "workspace", "staging", "total", "budget", "largest", "gear"]
    assert lines[2].split()[-3:] == ["1048576", "half.om:", "4"]
