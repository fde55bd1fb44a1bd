"""Limits on what a compilation may come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.cli import main
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
    assert "), --memory-budget allows 64\n  hint: arena 256, staging 128\n" in error


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
    model = small_model(
        [node("Relu", "x", "clean"), node("Unique", "clean", "found")], {"x": ("float32", (4,))}, {"found": ("float32", None)}
    )
    (files / "late.onnx").write_bytes(model.SerializeToString())
    command = ["compile", str(files / "late.onnx"), "-o", str(files / "late.lbr")]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--fail-on-fallback"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 1 region is not native, --fail-on-fallback allows none\n  hint: found (")
