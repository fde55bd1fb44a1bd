"""The example of a vendor in a package of its own: installed elsewhere, it works without a change to this tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.plugin import install
from support.small_onnx import node, small_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/vendor_plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installer makes of the example: its package, and the metadata by which it is found."""
    site = tmp_path_factory.mktemp("site")
    install(EXAMPLE, site)
    return site


def python(site: Path, folder: Path, *arguments: str) -> str:
    """Run Python with this checkout and the installed example; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(site)))}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


PROGRAM = """
import numpy as np
import landbridge as lb
from landbridge_abacus import make_blob

class AbacusRuntimeSubgraph(lb.nn.RuntimeSubgraph):
    vendor = "abacus"

class Net(lb.nn.Module):
    def __init__(self, data):
        self.ramp = AbacusRuntimeSubgraph(data)

    def forward(self, x):
        return lb.nn.relu(self.ramp(lb.nn.relu(x))[0])

model = lb.from_module(Net(make_blob(-3, 7, shape=["n", 4])), {"x": lb.TensorSpec(("n", 4), "float32")})
compiled = lb.compile(model)
print([(c.source, c.destination) for c in compiled.report.copies])
compiled.save("net.lbr")
x = np.arange(-4, 8, dtype="float32").reshape(3, 4)
with lb.load("net.lbr") as session:
    np.testing.assert_array_equal(session.run({"x": x})["output"], np.maximum(-3 * np.maximum(x, 0) + 7, 0))
"""


def test_it_compiles_and_runs_as_a_module(site: Path, tmp_path: Path) -> None:
    assert python(site, tmp_path, "-c", PROGRAM) == "[('cpu', 'abacus0'), ('abacus0', 'cpu')]\n"


def test_it_compiles_and_runs_on_the_command_line(site: Path, tmp_path: Path) -> None:
    shape = ("n", 4)
    model = small_model(
        [node("Relu", "image", "a"), node("Neg", "a", "b"), node("Relu", "b", "y")],
        {"image": ("float32", shape)},
        {"y": ("float32", shape)},
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    python(site, tmp_path, "-m", "landbridge_abacus", "ramp.abacus")
    shown = json.loads(python(site, tmp_path, "-m", "landbridge", "inspect", "ramp.abacus", "--json"))
    assert shown["vendor"] == "abacus"
    assert shown["details"] == {"computes": "3 * x + 1"}
    python(site, tmp_path, "-m", "landbridge", "capture", "ramp.abacus")
    region = "abacus0:ramp.abacus;inputs=a;outputs=b"
    python(site, tmp_path, "-m", "landbridge", "compile", "model.onnx", "--replace", region, "-o", "model.lbr")
    np.savez(tmp_path / "in.npz", image=np.arange(-4, 4, dtype="float32").reshape(2, 4))
    python(site, tmp_path, "-m", "landbridge", "run", "model.lbr", "-i", "in.npz", "-o", "out.npz")
    expected = [[1, 1, 1, 1], [1, 4, 7, 10]]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], expected)


def test_what_the_example_refuses_has_its_words(site: Path, tmp_path: Path) -> None:
    program = """
from landbridge.runtime.errors import LandbridgeError
from landbridge.runtime.vendors import registry
from landbridge_abacus import make_blob
abacus = registry.vendor("abacus")
cut = make_blob(1, 2, shape=[2])[:-9]
for attempt in (lambda: abacus.read_signature(cut, {}), lambda: abacus.open(1), lambda: abacus.open(0, simulate=True)):
    try:
        attempt()
    except LandbridgeError as error:
        print(str(error).splitlines()[0])
"""
    lines = python(site, tmp_path, "-c", program).splitlines()
    assert lines[0].startswith("abacus blob: damaged: JSONDecodeError")
    assert lines[1:] == ["no device abacus1", "abacus has no simulator"]
