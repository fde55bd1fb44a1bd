from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

import landbridge as lb
from landbridge.cli import main
from landbridge.runtime.sidecar import read_sidecar, sidecar_path
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.tensorrt import cuda
from support import cuda_double
from support.om_data import om_data_dir
from support.tensorrt_double import make_module, plan, tensor

PLAN = plan("double", [tensor("x", [-1, 4]), tensor("y", [-1, 4], output=True)], [{"x": [[1, 4], [4, 4], [8, 4]]}], version="10.3.0.26")


@pytest.fixture
def om(tmp_path: Path) -> Path:
    file = tmp_path / "model.om"
    file.write_bytes((om_data_dir() / "model_om.om").read_bytes())
    return file


def test_the_sidecar_of_a_simulated_device(om: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", str(om), "--simulate", "atlas"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:2] == [
        f"{om}.sig.json: the signature of model.om, a blob of atlas",
        "  input  d: float32 [4, 3, 16, 16] NCHW",
    ]
    assert "loaded on atlas0 (simulated): soc Ascend310" in shown.out
    assert shown.err == ""
    data = om.read_bytes()
    sidecar = read_sidecar(sidecar_path(om), data)
    assert sidecar.vendor == "atlas"
    assert sidecar.signature.inputs == registry.vendor("atlas").read_signature(data, {}).inputs
    assert sidecar.captured_with["soc"] == "Ascend310"
    assert sidecar.captured_with["simulated"] == "yes"
    written = json.loads(sidecar_path(om).read_text())
    assert (written["sha256"], written["nbytes"]) == (hashlib.sha256(data).hexdigest(), len(data))


def test_the_environment_simulates_too(om: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIMULATE", "atlas")
    assert main(["capture", str(om), "-o", f"{om}.json", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sidecar"] == f"{om}.json"
    assert facts["captured_with"]["simulated"] == "yes"
    assert facts["unchecked"] is None


def test_without_a_device_the_file_still_tells(om: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDBRIDGE_SIMULATE", raising=False)
    assert main(["capture", str(om)]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("warning: no device has loaded it: atlas0: ")
    assert "loaded on" not in shown.out
    assert read_sidecar(sidecar_path(om), om.read_bytes()).captured_with == {}


def test_what_only_the_device_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    double = cuda_double.use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(double))
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    with pytest.raises(
        lb.errors.SignatureError, match="does not tell its inputs and outputs\n  hint: write them beside it where the GPU is"
    ):
        lb.ExternModel.from_file(file)
    assert main(["capture", str(file), "--device", "gpu1"]) == 0
    assert "loaded on gpu1: tensorrt 10.3.0.26, gpu Double GPU, compute_capability 8.6, cuda_driver 12.4" in capsys.readouterr().out
    model = lb.ExternModel.from_file(file)
    assert model.vendor == "tensorrt"
    assert model.signature.outputs == (lb.Port("y", "float32", ("batch", 4)),)
    assert model.signature.versions["gpu"] == "Double GPU"
    assert double.live() == 0


def test_inspect_shows_what_is_known_and_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "built by  TensorRT 10.3.0.26\n" in shown
    assert (
        "signature: TensorRT plan: a plan of TensorRT 10.3.0.26 does not tell its inputs and outputs\n  hint: write them beside it" in shown
    )
    assert main(["inspect", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] is None
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(cuda_double.use(monkeypatch)))
    assert main(["capture", str(file)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "input  x: float32 [batch, 4] ND\noutput y: float32 [batch, 4] ND\n" in shown
    assert "compute_capability 8.6 (from the sidecar)" in shown


def test_without_a_gpu_the_error_is_the_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "LIBRARIES", ("libcuda-that-there-is-not.so.1",))
    file = tmp_path / "net.engine"
    file.write_bytes(PLAN)
    assert main(["capture", str(file)]) == 1
    assert capsys.readouterr().err.startswith(
        "error: gpu0: NVIDIA's driver is missing: there is no libcuda.so.1\n  hint: install the NVIDIA driver"
    )
    assert not sidecar_path(file).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu0"], "--device gpu0: a blob of atlas runs on atlas\n  hint: as in --device atlas0"),
        (["--option", "symbol"], "--option 'symbol' is not of the form NAME=VALUE\n  hint: as in --option symbol=subnet0"),
        (["--vendor", "abacus"], "unknown vendor 'abacus'"),
    ],
)
def test_wrong_usage(om: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["capture", str(om), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_nobodys_blob(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thing.bin"
    file.write_bytes(b"nobody's")
    assert main(["capture", str(file)]) == 1
    assert (
        "thing.bin: neither its bytes nor its name tell whose blob it is\n  hint: say so with --vendor; vendors here: atlas"
        in capsys.readouterr().err
    )
