from __future__ import annotations

from importlib import metadata

import numpy as np
import pytest
from tvm.relax import op

from landbridge.codegen import build
from landbridge.ir.program import Program
from landbridge.runtime import description
from landbridge.runtime.artifact import HOST_LIBRARY, to_bytes
from landbridge.runtime.errors import UsageError
from landbridge.runtime.report import Report
from landbridge.runtime.session import load
from support.placed_programs import build_main, placed


@pytest.fixture
def program() -> Program:
    return placed(build_main({"x": (("n", 3), "float32")}, lambda emit, x: [emit(op.nn.softmax(x))]), outputs=["y"])


def test_an_artifact_says_what_made_it(program: Program) -> None:
    artifact = build(program, name="model.onnx")
    assert artifact.name == "model.onnx"
    assert artifact.producer["apache-tvm"] == metadata.version("apache-tvm")
    assert artifact.report == Report()
    assert list(artifact.sections) == [HOST_LIBRARY, description.SECTION]


def test_the_report_goes_into_the_artifact(program: Program) -> None:
    report = Report(minimum_copies=3, dims=("n",))
    assert build(program, report=report, name="model").report is report


def test_a_target_is_passed_on(program: Program) -> None:
    assert build(program, "llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v2", name="model").target.cpu == "x86-64-v2"
    with pytest.raises(UsageError, match="target kind 'c'"):
        build(program, "c", name="model")


def test_a_session_runs_what_was_built(program: Program) -> None:
    x = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
    with load(to_bytes(build(program, name="model"))) as session:
        found = session.run({"x": x})["y"]
    expected = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
