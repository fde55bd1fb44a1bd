"""The example in the help of every verb works, typed as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from landbridge.cli import VERBS, main
from landbridge.passes.pipelines import PLACE_AUTO
from landbridge.passes.reproducer import write_reproducer
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model
from support.small_programs import SmallProgram

ORDER = ("split", "compile", "run", "selftest", "verify", "bench", "inspect", "capture", "doctor", "report", "swap", "diff", "export")
"""Verbs whose examples need what those before them made; the others follow in the order of the help."""

MORE = {"compile": ["--golden", "in.npz"], "bench": ["--seconds", "0.1"]}
"""For selftest to have something to test with, and to save time."""

STATUS = {"diff": 1}
"""Of an example that tells of a difference."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the examples speak of, before any verb has run."""
    monkeypatch.chdir(tmp_path)
    shape, out = ("float32", ("n", 4)), ("float32", ("n", 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "features"), node("Neg", "features", "result")]
    Path("detector.onnx").write_bytes(small_model(nodes, {"image": shape}, {"result": out}).SerializeToString())
    part = small_model(nodes[:2], {"image": shape}, {"features": out})
    Path("backbone.om").write_bytes(make_om(part, gears=(1, 2, 4)))
    Path("backbone-v2.om").write_bytes(make_om(part, gears=(1, 4)))
    np.savez("in.npz", image=np.ones((3, 4), np.float32))
    program = SmallProgram(placed=False)
    program.output(program.add("z", program.input("x"), program.constant()))
    write_reproducer(program.module(), ",".join(step.name for step in PLACE_AUTO), ValueError("a bug"), Path())
    Path("reproducer_check-signatures.py").rename("reproducer_insert-copies.py")
    return tmp_path


def example(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([verb, "--help"]) == 0
    found = re.search(r"^example:\n  landbridge (.*)$", capsys.readouterr().out, re.M)
    assert found is not None, f"the help of {verb} has no example"
    return found[1]


def test_the_examples_of_all_verbs_work_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS]
    assert set(ORDER) <= set(verbs)
    for verb in (*ORDER, *(verb for verb in verbs if verb not in (*ORDER, "demo"))):  # the demo is run by the tests of the pages
        words = shlex.split(example(verb, capsys), comments=True)
        assert words[0] == verb
        words += MORE.get(verb, [])
        status = main(words)
        assert status == STATUS.get(verb, 0), f"{words}\n{capsys.readouterr().err}"
