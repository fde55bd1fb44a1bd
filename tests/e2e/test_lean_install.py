"""A process that only runs an artifact needs NumPy: installed without extras, in an environment with nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import landbridge as lb
from support.small_onnx import node, small_model

ROOT = Path(__file__).parents[2]

RUN = """
import sys, numpy as np
import landbridge
assert sys.prefix in landbridge.__file__, landbridge.__file__
with landbridge.load(sys.argv[1]) as session:
    np.save(sys.argv[2], session.run({"x": np.arange(12, dtype="float32").reshape(4, 3)})["output"])
"""


class Net(lb.nn.Module):
    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return lb.nn.softmax(x, axis=1)


NET = small_model([node("Softmax", "x", "output", axis=1)], {"x": ("float32", ("n", 3))}, {"output": ("float32", ("n", 3))})


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a checkout: what is tracked is installed"
)
def test_the_runtime_alone_runs_an_artifact(tmp_path: Path) -> None:
    x = np.arange(12, dtype="float32").reshape(4, 3)
    (tmp_path / "net.onnx").write_bytes(NET.SerializeToString())
    model = lb.from_module(Net(), {"x": lb.TensorSpec(("n", 3), "float32")})
    artifact = lb.compile(model, golden={"x": x}, golden_reference=tmp_path / "net.onnx").save(tmp_path / "net.lbr")
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin/python"
    # a copy, so that the build leaves nothing in the checkout; links stay links
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    source.mkdir()
    subprocess.run(["tar", "-cf", tmp_path / "source.tar", "--null", "-T", "-"], cwd=ROOT, input=tracked, check=True)
    subprocess.run(["tar", "-xf", tmp_path / "source.tar", "-C", source], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", source], check=True, cwd=tmp_path)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
    assert {line.partition("=")[0] for line in listed.split()} <= {"landbridge", "numpy", "pip", "setuptools"}
    subprocess.run([python, "-I", "-c", RUN, artifact, tmp_path / "y.npy"], check=True, cwd=tmp_path)
    expected = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-6)
    inspected = subprocess.run([environment / "bin/landbridge", "inspect", artifact], check=True, capture_output=True, text=True).stdout
    assert "input  x: float32 [n, 3] on cpu" in inspected
    checked = subprocess.run([environment / "bin/landbridge", "doctor", artifact], check=True, capture_output=True, text=True).stdout
    assert checked.endswith(f"\n{artifact}: runs here\n")
    tested = subprocess.run([environment / "bin/landbridge", "selftest", artifact], check=True, capture_output=True, text=True).stdout
    assert "1 of 1 values agree with " in tested
    assert tested.endswith("\npassed\n")
    explained = subprocess.run([environment / "bin/landbridge", "explain", "LB1203"], check=True, capture_output=True, text=True).stdout
    assert explained.startswith("LB1203 (InputError)")
    subprocess.run([environment / "bin/landbridge", "report", artifact, "--html", tmp_path / "page.html"], check=True, capture_output=True)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "class Graph" in page
    assert "R.nn.softmax(" in page
    refused = subprocess.run([environment / "bin/landbridge", "compile", "model.onnx"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count("Traceback")) == (1, 0)
    assert "pip install 'landbridge[compiler]'" in refused.stderr


def test_this_interpreter_is_not_what_was_tested() -> None:
    assert Path(lb.__file__).resolve().is_relative_to(ROOT)
    assert sys.prefix != sys.base_prefix, "run the tests from the project's virtual environment"
