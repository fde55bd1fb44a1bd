"""What would spare a crossing or a conversion: told where it is so, and only there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

import landbridge as lb
from landbridge import passes
from landbridge.ir.program import Program
from landbridge.reporting import make_report
from landbridge.runtime.plan import Plan
from landbridge.runtime.report import Cast, Crossing, Report
from landbridge.simulators.ascend.make_om import make_om
from support.random_programs import paper_vendors
from support.small_onnx import node, small_model
from support.small_programs import SmallProgram

NOTHING = Plan(dims=(), buffers=(), steps=(), inputs=(), outputs=(), arenas={})

PREPARED = (
    node("Cast", "image", "pixels", to=onnx.TensorProto.FLOAT),
    node("Mul", "pixels scale", "scaled"),
    node("Transpose", "scaled", "planes", perm=[0, 3, 1, 2]),
)

AIPP = "re-make net.om with AIPP to feed 'image' as uint8: 2x fewer bytes"


@pytest.fixture
def paper() -> Iterator[None]:
    with paper_vendors():
        yield


def camera_report(nodes: Sequence[Any] = PREPARED, shape: Sequence[int] = (1, 4, 4, 3), dtype: str = "uint8") -> Report:
    """Return the report of a model that prepares an image for an Ascend model with a float16 input."""
    made = small_model(
        [*nodes, node("Relu", "planes", "y")], {"image": (dtype, shape)}, {"y": ("float32", None)}, {"scale": np.array(2, "float32")}
    )
    part = lb.split(made, inputs=["planes"], outputs=["y"])
    offline = lb.ExternModel.from_bytes(make_om(part, input_dtype="float16"), "atlas", name="net.om")
    program = lb.replace(lb.from_onnx(made), inputs=["planes"], outputs=["y"], by=offline, device="atlas0")
    return make_report(passes.place_program(program), NOTHING)


def remedies(report: Report) -> dict[str, str]:
    entries: list[Crossing | Cast] = [*report.copies, *report.casts]
    return {f"{entry.value}: {entry.source} -> {entry.destination}": entry.remedy for entry in entries}


def small_report(program: SmallProgram) -> dict[str, str]:
    return remedies(make_report(Program(passes.place(program.module())), NOTHING))


def test_a_picture_prepared_on_the_cpu_could_be_prepared_by_the_ascend_model() -> None:
    assert remedies(camera_report()) == {
        "planes: cpu -> atlas0": AIPP,
        "y: atlas0 -> cpu": "",
        "image: uint8 -> float32": AIPP,
        "planes: float32 -> float16": AIPP,
    }


@pytest.mark.parametrize(
    ("nodes", "shape", "dtype"),
    [
        ((*PREPARED[:2], node("Sqrt", "scaled", "root"), node("Transpose", "root", "planes", perm=[0, 3, 1, 2])), (1, 4, 4, 3), "uint8"),
        (PREPARED, (1, 6, 6, 5), "uint8"),
        (PREPARED, (1, 4, 4, 3), "int32"),
        ((node("Cast", "image", "pixels", to=onnx.TensorProto.FLOAT), node("Add", "pixels pixels", "planes")), (4, 3), "uint8"),
    ],
    ids=["an operator that AIPP has not", "too many channels", "no pixels", "no picture"],
)
def test_what_aipp_cannot_do_is_not_advised(nodes: Sequence[Any], shape: Sequence[int], dtype: str) -> None:
    assert set(remedies(camera_report(nodes, shape, dtype)).values()) == {""}


@pytest.mark.usefixtures("paper")
def test_a_value_that_comes_back_after_some_operators_could_stay() -> None:
    program = SmallProgram(placed=False)
    program.model("first", "atlas0")
    program.model("second", "atlas0")
    inner = program.relu("r", program.call("a", "first", program.input("x")))
    program.output(program.call("b", "second", inner))
    found = small_report(program)
    assert found["a: atlas0 -> cpu"] == "one offline model in place of first.blob, second.blob, with r in it, would keep it on atlas0"
    assert found["b: atlas0 -> cpu"] == ""


@pytest.mark.usefixtures("paper")
def test_a_value_that_goes_from_device_to_device_could_stay() -> None:
    program = SmallProgram(placed=False)
    program.model("first", "gpu0")
    program.model("second", "atlas0")
    program.output(program.call("b", "second", program.call("a", "first", program.input("x"))))
    assert small_report(program)["a: gpu0 -> cpu"] == "second.blob compiled for gpu would read it there"


@pytest.mark.usefixtures("paper")
def test_a_value_that_the_cpu_reads_too_cannot() -> None:
    program = SmallProgram(placed=False)
    program.model("first", "gpu0")
    program.model("second", "atlas0")
    between = program.call("a", "first", program.input("x"))
    program.output(program.call("b", "second", between))
    program.output(program.relu("r", between))
    assert small_report(program)["a: gpu0 -> cpu"] == ""


@pytest.mark.usefixtures("paper")
def test_an_input_that_only_a_device_reads_could_be_given_there() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0")
    image = program.input("x")
    program.output(program.call("a", "net", image))
    told = "declare 'x' with device=\"atlas0\" and give it a tensor from session.to_device"
    assert small_report(program)["x: cpu -> atlas0"] == told


def test_remedies_are_in_the_text_of_the_report() -> None:
    assert f"\n  to spare planes, cpu -> atlas0: {AIPP}\n" in camera_report().render()


def test_a_part_of_an_operators_result_is_no_picture(paper: None) -> None:
    made = small_model(
        [node("Split", "image", "left right", axis=1), node("Relu", "left", "planes"), node("Add", "planes right", "y")],
        {"image": ("float32", (1, 4))},
        {"y": ("float32", None)},
    )
    part = lb.split(made, inputs=["left"], outputs=["planes"])
    program = lb.replace(
        lb.from_onnx(made), inputs=["left"], outputs=["planes"], by=lb.ExternModel.from_bytes(make_om(part), name="net.om")
    )
    assert remedies(make_report(passes.place_program(program), NOTHING))["left: cpu -> atlas0"] == ""
