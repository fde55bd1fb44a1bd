"""Bisection inside a host region: the operator that a bug of the compiler makes wrong is found, whatever stands around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import landbridge as lb
from landbridge import bisection
from landbridge.cli import main
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.reference import Reference
from landbridge.simulators.ascend.make_om import make_om
from landbridge.verification import verify
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))
IMAGES = {"image": np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)}
CHAIN = ("Neg", "Abs", "Sqrt", "Neg", "Exp", "Sqrt", "Neg", "Reciprocal")
INSTEAD = {"Abs": "Relu", "Exp": "Sin", "Reciprocal": "Neg"}


def chain(*operators: str) -> onnx.ModelProto:
    """A model that applies operators one after the other: v0 of image, v1 of v0 and so on."""
    names = ["image", *(f"v{index}" for index in range(len(operators)))]
    nodes = [node(operator, before, after) for operator, before, after in zip(operators, names, names[1:], strict=False)]
    return small_model(nodes, {"image": SHAPE}, {names[-1]: SHAPE})


def with_bug(monkeypatch: pytest.MonkeyPatch, wrong: str, instead: str) -> Any:
    """Return a front end that takes one operator for another, and have bisection use it too: a compiler with a bug."""

    def compile_with_bug(model: Any, **options: Any) -> lb.Program:
        proto = onnx.ModelProto()
        proto.CopyFrom(model)
        for operator in proto.graph.node:
            operator.op_type = instead if operator.op_type == wrong else operator.op_type
        return from_onnx(proto, **options)

    monkeypatch.setattr(bisection, "from_onnx", compile_with_bug)
    return compile_with_bug


def culprit(program: lb.Program, model: onnx.ModelProto) -> bisection.Culprit:
    with lb.compile(program).load(simulate=["atlas"]) as session:
        verdict, found = verify(session, Reference(model), IMAGES, bisects=True)
    assert verdict.by_host
    assert found is not None
    return found


@pytest.mark.parametrize("position", [1, 7])
def test_the_wrong_operator_of_a_chain_is_found(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain(*CHAIN)
    wrong = CHAIN[position]
    found = culprit(with_bug(monkeypatch, wrong, INSTEAD[wrong])(model), model)
    assert (found.reproduced, found.value, found.operator) == (True, f"v{position}", f"{wrong.lower()}_v{position} ({wrong})")
    assert found.reads == (f"v{position - 1}",)
    assert found.compilations <= 6  # the whole chain has eight
    assert "is wrong by itself" in found.render()


def test_branches_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        node("Exp", "image", "left"),
        node("Sin", "image", "right"),
        node("Abs", "right", "positive"),
        node("Relu", "left", "still"),
        node("Add", "still positive", "sum"),
        node("Neg", "sum", "result"),
    ]
    model = small_model(nodes, {"image": SHAPE}, {"result": SHAPE})
    found = culprit(with_bug(monkeypatch, "Exp", "Tanh")(model), model)
    assert (found.value, found.reads) == ("left", ("image",))


def test_what_an_offline_model_gave_is_where_the_region_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Exp", "score", "up"), node("Neg", "up", "result")]
    model = small_model(nodes, {"image": SHAPE}, {"result": SHAPE})
    part = small_model([node("Sigmoid", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    blob = lb.ExternModel.from_bytes(make_om(part, gears=(1, 2, 4)), name="middle.om")
    program = lb.replace(with_bug(monkeypatch, "Exp", "Sin")(model), inputs=["clean"], outputs=["score"], by=blob)
    found = culprit(program, model)
    assert (found.value, found.reads, found.operator) == ("up", ("score",), "exp_up (Exp)")


def test_a_region_that_is_right_by_itself_says_so() -> None:
    model = chain(*CHAIN)
    found = culprit(lb.from_onnx(chain(*CHAIN[:4], "Relu", *CHAIN[5:])), model)
    assert not found.reproduced
    assert "'v7' comes out right when the operators before it are compiled by themselves" in found.render()
    assert "was the artifact compiled from this very model" in found.render()


def test_a_conversion_is_named_where_it_makes_the_difference(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "verify",
        str(files / "half.lbr"),
        "--reference",
        str(files / "half.onnx"),
        "--simulate",
        "atlas",
        "--rtol",
        "1e-5",
        "--dim",
        "n=3",
    ]
    assert main([*words, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["values"][0]["name"] == "clean"
    assert "what differs comes from its conversion to float16" in data["culprit"]["reason"]
    assert main([*words, "--no-bisect", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["culprit"] is None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose offline model takes float16."""
    folder = tmp_path_factory.mktemp("bisection")
    nodes = [node("Sigmoid", "image", "clean"), node("Relu", "clean", "score"), node("Neg", "score", "result")]
    model = small_model(nodes, {"image": SHAPE}, {"result": SHAPE})
    (folder / "half.onnx").write_bytes(model.SerializeToString())
    part = small_model([node("Relu", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    (folder / "half.om").write_bytes(make_om(part, gears=(1, 2, 4), input_dtype="float16"))
    region = f"atlas0:{folder / 'half.om'};inputs=clean;outputs=score"
    assert main(["compile", str(folder / "half.onnx"), "-o", str(folder / "half.lbr"), "--replace", region]) == 0
    return folder
