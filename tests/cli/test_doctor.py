from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landbridge.cli import main
from landbridge.runtime import artifact
from landbridge.runtime.doctor import EXIT_CODES, check_up
from landbridge.runtime.vendors.atlas import acl
from landbridge.runtime.vendors.atlas import driver as atlas_driver
from support.atlas_device import Simulator


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and what ``--json`` prints."""
    status = main(["doctor", *words, "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setattr(acl, "LIBRARY", "libascendcl-not-here.so")
    monkeypatch.setattr(atlas_driver, "_processes", {})


@pytest.fixture
def new_simulator() -> Iterator[None]:
    """The simulator reads the environment anew."""
    Simulator().reset()
    yield
    Simulator().reset()


def changed(files: Path, tmp_path: Path, change: Any) -> str:
    """Return the path of ``model.lbr`` with a change."""
    path = tmp_path / "changed.lbr"
    artifact.write(change(artifact.read(files / "model.lbr")), path)
    return str(path)


def test_vendors_are_listed_with_devices_versions_and_free_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--simulate", "atlas"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "atlas" in lines
    assert "  atlas0 (simulated): soc Ascend310, acl 1.8.0, 1073741824 bytes free" in lines


@pytest.mark.usefixtures("nothing_installed")
def test_what_is_missing_is_said_with_its_fix_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = doctor(capsys)
    (atlas,) = [vendor for vendor in found["vendors"] if vendor["vendor"] == "atlas"]
    assert (status, atlas["software"], atlas["devices"]) == (0, [], [])
    assert atlas["problem"].startswith("the Ascend library libascendcl-not-here.so does not load: ")
    assert atlas["fix"].startswith("install CANN")


def test_an_artifact_that_runs_here(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = doctor(capsys, str(files / "model.lbr"), "--simulate", "atlas")
    assert (status, found["problems"], found["models"]) == (0, [], ["middle.om on atlas0"])
    assert main(["doctor", str(files / "model.lbr"), "--simulate", "atlas"]) == 0
    assert capsys.readouterr().out.endswith(f"\n{files / 'model.lbr'}: runs here\n  fine: middle.om on atlas0\n")


def test_the_simulator_may_be_named_by_the_environment(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIMULATE", "atlas")
    assert doctor(capsys, str(files / "model.lbr"))[0] == 0


@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_library_is_a_problem_of_software(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = doctor(capsys, str(files / "model.lbr"))
    (problem,) = found["problems"]
    assert (status, problem["kind"], problem["at"]) == (EXIT_CODES["software"], "software", "atlas0")
    assert "libascendcl-not-here.so does not load" in problem["text"]
    assert problem["fix"].startswith("install CANN")


def test_a_missing_device_is_named_with_those_there_are(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def elsewhere(found: artifact.Artifact) -> artifact.Artifact:
        text = json.dumps(found.plan.to_json()).replace("atlas0", "atlas9")
        externs = tuple(replace(record, device="atlas9") for record in found.externs)
        return replace(found, plan=type(found.plan).from_json(json.loads(text)), externs=externs)

    status, found = doctor(capsys, changed(files, tmp_path, elsewhere), "--simulate", "atlas")
    assert (status, found["problems"]) == (
        EXIT_CODES["device"],
        [
            {
                "kind": "device",
                "at": "atlas9",
                "text": "there is no such device; Ascend devices here: atlas0, atlas1, atlas2, atlas3",
                "fix": "name one of them",
            }
        ],
    )


@pytest.mark.usefixtures("new_simulator")
def test_every_problem_is_told_at_once(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_SOC", "Ascend910B1")

    def demanding(found: artifact.Artifact) -> artifact.Artifact:
        (record,) = found.externs
        # too large for the device only together with the tensors, so that the model itself can be looked at
        plan = replace(found.plan, arenas={**found.plan.arenas, "atlas0": 1 << 40})
        return replace(found, externs=(record,), plan=plan, target=replace(found.target, cpu_features=("avx9",)))

    path = changed(files, tmp_path, demanding)
    status, found = doctor(capsys, path, "--simulate", "atlas")
    assert [(problem["kind"], problem["at"]) for problem in found["problems"]] == [
        ("host", "host code"),
        ("memory", "atlas0"),
        ("model", "middle.om on atlas0"),
    ]
    host, memory, model = found["problems"]
    assert "compiled for a processor with avx9, this one lacks avx9" in host["text"]
    assert memory["text"].endswith("tensors 1099511627776), 1073741824 are free")
    assert model["text"] == "the offline model was compiled for Ascend310, this device is Ascend910B1"
    assert model["fix"] == "compile the model again: atc --soc_version=Ascend910B1"
    assert status == EXIT_CODES["host"]
    assert main(["doctor", path, "--simulate", "atlas"]) == EXIT_CODES["host"]
    shown = capsys.readouterr().out
    assert f"{path}: does not run here, 3 problems\n" in shown
    assert "    fix: compile the model again: atc --soc_version=Ascend910B1\n" in shown


@pytest.mark.usefixtures("new_simulator")
def test_a_model_larger_than_the_free_memory_is_a_problem_of_memory_alone(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", "1K")
    status, found = doctor(capsys, str(files / "model.lbr"), "--simulate", "atlas")
    assert (status, [problem["kind"] for problem in found["problems"]]) == (EXIT_CODES["memory"], ["memory"])


def test_a_damaged_artifact_and_one_that_is_not_there(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray((files / "model.lbr").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.lbr").write_bytes(data)
    status, found = doctor(capsys, str(tmp_path / "damaged.lbr"))
    assert (status, [problem["kind"] for problem in found["problems"]]) == (EXIT_CODES["artifact"], ["artifact"])
    status, found = doctor(capsys, str(tmp_path / "none.lbr"))
    assert (status, found["problems"][0]["text"]) == (EXIT_CODES["artifact"], "cannot read the artifact: No such file or directory")


def test_a_vendor_that_is_not_known_here(files: Path, tmp_path: Path) -> None:
    path = changed(files, tmp_path, lambda found: replace(found, externs=(replace(found.externs[0], vendor="acme"),)))
    (problem,) = check_up(path).problems
    assert (problem.kind, problem.at, problem.text) == ("software", "atlas0", "needs the vendor 'acme'")


def test_an_unknown_name_to_simulate_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--simulate", "acme"]) == 2
    assert "unknown vendor 'acme'" in capsys.readouterr().err


def test_the_help_documents_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "0 it runs here; by what is wrong: 3 artifact, 4 host, 5 software, 6 device, 7 model, 8 memory" in told
