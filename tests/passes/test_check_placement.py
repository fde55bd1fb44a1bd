"""Strict mode: what it refuses, in which words, and what it lets through."""

from __future__ import annotations

import pytest

from landbridge.passes.check_placement import CheckPlacement
from landbridge.runtime.errors import PlacementError
from support.running_passes import assert_leaves
from support.small_programs import SmallProgram

HINT = '  hint: add these lines, or compile with mode="auto", which inserts what is missing'


def refusal(program: SmallProgram) -> list[str]:
    """The lines of the error."""
    with pytest.raises(PlacementError) as caught:
        CheckPlacement().run(program.module())
    return str(caught.value).splitlines()


def test_both_copies_that_are_missing_are_named_with_the_lines_to_add() -> None:
    program = SmallProgram(placed=True, model="")
    program.model("backbone", "atlas0")
    program.output(program.relu("z", program.call("features", "backbone", program.relu("r", program.input("x")))))
    assert refusal(program) == [
        '2 places where mode="strict" needs a line more:',
        "  features: backbone.blob runs on atlas0, its operand 'r' is on cpu; before it add: r = lb.copy(r, \"atlas0\")",
        "  z: nn.relu runs on the cpu, its operand 'features' is on atlas0; before it add: features = lb.copy(features, \"cpu\")",
        HINT,
    ]


def test_with_the_copies_written_it_is_accepted() -> None:
    program = SmallProgram(placed=True)
    program.model("backbone", "atlas0", ["float16"], ["float16"])
    narrow = program.cast("narrow", program.input("x"), "float16")
    features = program.call("features", "backbone", program.copy("there", narrow, "atlas0"))
    program.output(program.relu("z", program.copy("back", features, "cpu")))
    program.output(features)
    assert_leaves(CheckPlacement(), program.module())


def test_a_missing_cast_is_named_in_front_of_the_copy() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float16"])
    program.output(program.call("y", "net", program.input("x")), device="atlas0")
    assert refusal(program)[1] == (
        "  small.onnx:y: net.blob runs on atlas0 and takes float16, its operand 'x' is on cpu and float32; "
        'before it add: x = lb.astype(x, "float16"); x = lb.copy(x, "atlas0")'
    )


def test_a_missing_cast_of_a_value_on_the_device_goes_over_the_cpu() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float16"])
    program.output(program.call("y", "net", program.input("x", device="atlas0")), device="atlas0")
    assert refusal(program)[1] == (
        "  small.onnx:y: net.blob takes float16, its operand 'x' is float32; "
        'before it add: x = lb.copy(x, "cpu"); x = lb.astype(x, "float16"); x = lb.copy(x, "atlas0")'
    )


def test_a_cast_of_a_value_on_a_device_is_refused() -> None:
    program = SmallProgram(placed=True)
    program.output(program.cast("c", program.input("x", device="atlas0"), "float16"))
    assert refusal(program)[1] == (
        "  small.onnx:c: astype runs on the cpu, its operand 'x' is on atlas0; before it add: x = lb.copy(x, \"cpu\")"
    )


def test_a_copy_from_device_to_device_is_refused_with_the_way_over_the_cpu() -> None:
    program = SmallProgram(placed=True)
    program.output(program.copy("y", program.input("x", device="gpu0"), "atlas0"))
    assert refusal(program)[:2] == [
        'small.onnx: one place where mode="strict" needs a line more:',
        "  small.onnx:y: 'x' is copied from gpu0 to atlas0, which are not linked; "
        'in its place write: x = lb.copy(x, "cpu"); x = lb.copy(x, "atlas0")',
    ]


def test_an_output_that_is_wanted_elsewhere_is_refused() -> None:
    program = SmallProgram(placed=True)
    program.output(program.input("x"), name="scores", device="atlas0")
    assert refusal(program)[1] == (
        "  small.onnx:scores: output 'scores' is wanted on atlas0, 'x' is on cpu; at the end add: x = lb.copy(x, \"atlas0\")"
    )


def test_a_constant_must_be_copied_too() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0")
    program.output(program.call("y", "net", program.constant()), device="atlas0")
    assert refusal(program)[1] == (
        "  small.onnx:y: net.blob runs on atlas0, its operand (a constant) is on cpu; before it add: copy 'a constant' to atlas0"
    )


def test_the_users_names_are_used_also_where_python_has_no_such_names() -> None:
    program = SmallProgram(placed=True, names={"x": "images:0", "y": "/layer1/act"})
    program.output(program.relu("y", program.input("x", device="atlas0")))
    assert refusal(program)[1] == (
        "  small.onnx:/layer1/act: nn.relu runs on the cpu, its operand 'images:0' is on atlas0; before it add: copy 'images:0' to cpu"
    )


def test_an_operand_that_is_used_twice_by_an_operator_is_reported_once() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x", device="atlas0")
    program.output(program.add("y", x, x))
    assert len(refusal(program)) == 3


def test_where_the_topology_has_no_way_it_says_so() -> None:
    program = SmallProgram(placed=True, links=[["cpu", "gpu0"]])
    program.model("net", "atlas0")
    program.output(program.call("y", "net", program.input("x")))
    assert refusal(program)[1] == (
        "  small.onnx:y: net.blob runs on atlas0, its operand 'x' is on cpu; "
        "before it add: nothing, there is no way from cpu to atlas0 (links of this topology: cpu - gpu0)"
    )
