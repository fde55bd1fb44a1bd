"""The measurement on a GPU, on the doubles of libcuda and TensorRT: it runs, and says what is missing. Its figures mean nothing here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from landbridge.runtime.vendors.tensorrt import cuda
from support.cuda_double import CudaDouble, use
from support.scripts import load_script
from support.tensorrt_double import make_module, plan, tensor


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("gpu/measure")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDouble]:
    made = use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(made))
    yield made
    assert made.live() == 0, "something on the GPU was not given back"


def test_everything_is_measured_and_written(
    script: ModuleType, double: CudaDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = [tensor("x", [-1, 4]), tensor("y", [-1, 4], output=True)]
    (tmp_path / "net.engine").write_bytes(plan("double", tensors, [{"x": [[2, 4], [4, 4], [8, 4]]}]))
    words = ["--sizes", "4K,64K", "--repeat", "3", "--plan", str(tmp_path / "net.engine"), "--json", str(tmp_path / "out.json")]
    assert script.main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("GPU Double GPU, capability 8.6, CUDA 12.4, free 16777216, of 16777216, link not told\n")
    found = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [(row["what"], row["nbytes"]) for row in found["rows"]] == [
        ("allocate and free", 0),
        ("allocate and free 65536", 0),
        *(
            (what, times * nbytes)
            for nbytes in (4096, 65536)
            for what, times in (
                ("copy in, pageable", 1),
                ("copy out, pageable", 1),
                ("copy in, pinned", 1),
                ("copy out, pinned", 1),
                ("copy on the GPU (reads and writes)", 2),
                ("in (pinned) and out at once", 2),
            )
        ),
        ("net.engine by tensorrt 10.3.0.26", 0),
    ]
    assert all(0 < row["best_us"] <= row["median_us"] and not row["problem"] for row in found["rows"])


def test_what_does_not_fit_is_said_and_the_rest_is_measured(
    script: ModuleType, double: CudaDouble, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "net.engine").write_bytes(b"ftrt" + bytes(20) + bytes((10, 3, 0, 26)) + b"no plan")
    double.budget(1 << 17)
    assert script.main(["--sizes", "4K,120K", "--repeat", "1", "--plan", str(tmp_path / "net.engine")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("copies") and "122880  not measured: no room for 122880 bytes" in line for line in lines)
    assert any(line.startswith("net.engine") and "TensorRT refused the plan" in line for line in lines)


def test_wrong_bytes_are_an_error(
    script: ModuleType, double: CudaDouble, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.Cuda, "copy_in", lambda self, destination, source, nbytes: None)
    assert script.main(["--sizes", "64", "--repeat", "1"]) == 1
    assert "of 64 bytes are wrong: copied in and out, pageable" in capsys.readouterr().err


def test_without_a_driver_or_such_a_gpu_one_message_says_so(
    script: ModuleType, double: CudaDouble, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main(["--gpu", "7"]) == 1
    assert capsys.readouterr().err == (
        "error: gpu7: there is no such device; NVIDIA GPUs here: gpu0, gpu1\n  hint: name one of them; see nvidia-smi\n"
    )
    monkeypatch.setattr(cuda, "LIBRARIES", ("libcuda-not-here.so.1",))
    assert script.main([]) == 1
    assert capsys.readouterr().err.startswith("error: gpu0: NVIDIA's driver is missing: there is no libcuda.so.1\n  hint: install")
    with pytest.raises(SystemExit):
        script.main(["--sizes", "big"])


def test_the_rate_and_the_share_of_what_the_hardware_can_do(script: ModuleType) -> None:
    row = script.Row("copy in, pinned", 2_000_000, 100.0, 110.0, 64.0)
    assert row.rate == 20.0
    assert "20.00     31% of 64" in script.Measured({}, [row]).render()
