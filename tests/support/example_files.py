"""The files that the examples in the help of the verbs speak of, and the order in which the examples work."""

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

_FIRST = ("split", "compile", "run", "selftest", "verify", "bench", "inspect", "capture", "doctor", "report", "swap", "diff", "export")
"""Verbs whose examples need what those before them made; the others follow in the order of the help."""

_MORE = {"compile": ["--golden", "in.npz"], "bench": ["--seconds", "0.1"]}
"""For selftest to have something to test with, and to save time."""

STATUS = {"diff": 1}
"""Of an example that tells of a difference."""


def verbs_in_order() -> list[str]:
    """Return all verbs but the demo, which the tests of the pages run, so that each finds what it needs."""
    verbs = [module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS]
    assert set(_FIRST) <= set(verbs)
    return [*_FIRST, *(verb for verb in verbs if verb not in (*_FIRST, "demo"))]


def write_files() -> None:
    """Write into this folder what is there before any verb has run."""
    kind = ("float32", ("n", 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "features"), node("Neg", "features", "result")]
    Path("detector.onnx").write_bytes(small_model(nodes, {"image": kind}, {"result": kind}).SerializeToString())
    part = small_model(nodes[:2], {"image": kind}, {"features": kind})
    Path("backbone.om").write_bytes(make_om(part, gears=(1, 2, 4)))
    Path("backbone-v2.om").write_bytes(make_om(part, gears=(1, 4)))
    np.savez("in.npz", image=np.ones((3, 4), np.float32))
    program = SmallProgram(placed=False)
    program.output(program.add("z", program.input("x"), program.constant()))
    write_reproducer(program.module(), ",".join(step.name for step in PLACE_AUTO), ValueError("a bug"), Path())
    Path("reproducer_check-signatures.py").rename("reproducer_insert-copies.py")


def example(verb: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the words of the example in the help of a verb, with what makes it quick."""
    capsys.readouterr()
    assert main([verb, "--help"]) == 0
    found = re.search(r"^example:\n  landbridge (.*)$", capsys.readouterr().out, re.M)
    assert found is not None, f"the help of {verb} has no example"
    words = shlex.split(found[1], comments=True)
    assert words[0] == verb
    return [*words, *_MORE.get(verb, [])]
