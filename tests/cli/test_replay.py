from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from landbridge.cli import main


def test_what_is_recorded_on_a_simulator_is_replayed_without_it(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LANDBRIDGE_SIMULATE", raising=False)
    run = ["run", str(files / "model.lbr"), "--fill", "random", "--dim", "n=5"]
    calls, first, second = str(tmp_path / "calls"), tmp_path / "first.npz", tmp_path / "second.npz"
    assert main([*run, "--simulate", "atlas", "--record", calls, "-o", str(first)]) == 0
    assert capsys.readouterr().out.endswith("simulated: atlas\n")
    assert main([*run, "--replay", calls, "-o", str(second)]) == 0
    assert capsys.readouterr().out.endswith(f"replayed from {calls}: atlas\n")
    np.testing.assert_array_equal(np.load(first)["result"], np.load(second)["result"])
    assert main([*run, "--replay", calls, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["simulated"], facts["replayed_from"]) == (["atlas"], calls)
    assert main([*run[:-1], "n=3", "--replay", calls]) == 1
    assert (
        "middle.om on atlas0: no recorded call had these inputs: float32 [3, 4]; recorded were the shapes [5, 4]\n"
        in capsys.readouterr().err
    )


def test_recording_a_replay_is_wrong_usage(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(files / "model.lbr"), "--fill", "ones", "--dim", "n=1", "--record", "a", "--replay", "b"]) == 2
    assert capsys.readouterr().err.startswith("error: --record and --replay\n  hint: record where the devices")
