"""The report says what crosses, what is converted, and why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from landbridge import passes
from landbridge.ir.program import Program
from landbridge.reporting import make_report
from landbridge.runtime.plan import Plan
from landbridge.runtime.report import Cast, Crossing, Report
from support.random_programs import paper_vendors
from support.small_programs import SmallProgram

NBYTES = 2 * 3 * 4


@pytest.fixture(autouse=True)
def _vendors() -> Iterator[None]:
    with paper_vendors():
        yield


def report_of(program: SmallProgram, arenas: dict[str, int] | None = None) -> Report:
    plan = Plan(dims=(), buffers=(), steps=(), inputs=(), outputs=(), arenas=dict(arenas or {}))
    return make_report(Program(passes.place(program.module())), plan)


def test_a_bridge_from_device_to_device_is_two_crossings_each_with_its_reason() -> None:
    program = SmallProgram(placed=False, names={"x": "/image:0"})
    program.model("first", "gpu0")
    program.model("second", "atlas0")
    image = program.input("x")
    program.output(program.call("b", "second", program.call("a", "first", image)), name="scores")
    report = report_of(program)
    assert report.copies == (
        Crossing(
            "/image:0",
            "float32",
            (2, 3),
            NBYTES,
            "cpu",
            "gpu0",
            "input",
            "first.blob",
            "needed on gpu0 by first.blob",
            remedy="declare '/image:0' with device=\"gpu0\" and give it a tensor from session.to_device",
        ),
        Crossing(
            "a",
            "float32",
            (2, 3),
            NBYTES,
            "gpu0",
            "cpu",
            "first.blob",
            "second.blob",
            "on its way to atlas0: devices are bridged over the CPU",
            remedy="second.blob compiled for gpu would read it there",
        ),
        Crossing("a", "float32", (2, 3), NBYTES, "cpu", "atlas0", "first.blob", "second.blob", "needed on atlas0 by second.blob"),
        Crossing("b", "float32", (2, 3), NBYTES, "atlas0", "cpu", "second.blob", "output 'scores'", "needed on cpu by output 'scores'"),
    )
    assert report.minimum_copies == 4


def test_a_value_with_several_readers_crosses_once_and_names_them_all() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0")
    result = program.call("a", "net", program.relu("r", program.input("x")))
    program.output(program.relu("s", result))
    program.output(program.relu("t", result))
    report = report_of(program)
    assert [(c.value, c.consumer) for c in report.copies] == [("r", "net.blob"), ("a", "s, t")]
    assert report.minimum_copies == 2


def test_an_inserted_cast_says_how_many_bytes_it_saves() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", inputs=["float16"], outputs=["float16"])
    program.output(program.cast("wide", program.call("a", "net", program.input("x")), "float32"))
    report = report_of(program)
    assert report.casts == (
        Cast(
            "x",
            NBYTES // 2,
            "float32",
            "float16",
            "input",
            "net.blob",
            f"net.blob expects float16; converted on the CPU before the copy, so that {NBYTES // 2} bytes cross and not {NBYTES}",
            shape=(2, 3),
            direction="into atlas0",
        ),
        Cast(
            "a",
            NBYTES // 2,
            "float16",
            "float32",
            "net.blob",
            "output 'out0'",
            "the model converts here; conversions run on the CPU",
            shape=(2, 3),
            direction="cpu",
        ),
    )


def test_a_constant_crosses_once_when_the_model_is_loaded() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", inputs=["float32", "float32"])
    program.output(program.call("a", "net", program.input("x"), program.constant()))
    assert [(c.value, c.once) for c in report_of(program).copies] == [("x", False), ("constant", True), ("a", False)]


def test_memory_is_the_arenas_and_the_offline_models() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0")
    program.output(program.call("a", "net", program.input("x")))
    assert report_of(program, {"cpu": 128, "atlas0": 64}).peak_nbytes == {"cpu": 128, "atlas0": 64}


def test_a_program_on_the_cpu_has_an_empty_report() -> None:
    program = SmallProgram(placed=False)
    program.output(program.relu("r", program.input("x")))
    assert report_of(program) == Report(peak_nbytes={"cpu": 0})
