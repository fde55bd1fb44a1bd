"""The bridge over the CPU."""

from __future__ import annotations

import pytest

from landbridge.passes.insert_copies import InsertCopies
from landbridge.runtime.errors import PlacementError
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram, names_in


def test_an_operand_on_the_cpu_is_copied_in_and_a_result_on_a_device_is_copied_out() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0")
    before.output(before.relu("z", before.call("y", "net", before.relu("r", before.input("x")))))

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0")
    there = expected.copy("r__atlas0", expected.relu("r", expected.input("x")), "atlas0")
    back = expected.copy("y__cpu", expected.call("y", "net", there), "cpu")
    expected.output(expected.relu("z", back))
    assert_makes(InsertCopies(), before.module(), expected.module())
    assert names_in(InsertCopies().run(before.module())) == ["r", "r__atlas0", "y", "y__cpu", "z"]


def test_from_device_to_device_it_goes_over_the_cpu() -> None:
    before = SmallProgram(placed=True)
    before.model("first", "gpu0")
    before.model("second", "atlas0")
    before.output(before.call("z", "second", before.call("y", "first", before.input("x", device="gpu0"))), device="atlas0")

    expected = SmallProgram(placed=True)
    expected.model("first", "gpu0")
    expected.model("second", "atlas0")
    y = expected.call("y", "first", expected.input("x", device="gpu0"))
    there = expected.copy("y__atlas0", expected.copy("y__cpu", y, "cpu"), "atlas0")
    expected.output(expected.call("z", "second", there), device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_from_one_ordinal_to_another_it_goes_over_the_cpu_too() -> None:
    before = SmallProgram(placed=True)
    before.output(before.input("x", device="atlas0"), device="atlas1")

    expected = SmallProgram(placed=True)
    out = expected.copy("x__cpu", expected.input("x", device="atlas0"), "cpu")
    expected.output(expected.copy("x__atlas1", out, "atlas1"), device="atlas1")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_a_copy_that_the_user_wrote_from_device_to_device_becomes_a_route() -> None:
    before = SmallProgram(placed=True)
    before.output(before.copy("there", before.input("x", device="gpu0"), "atlas0"), device="atlas0")

    expected = SmallProgram(placed=True)
    out = expected.copy("x__cpu", expected.input("x", device="gpu0"), "cpu")
    expected.output(expected.copy("there", out, "atlas0"), device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_one_copy_serves_all_who_need_the_value_there() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0")
        program.model("other", "atlas0", ["float32", "float32"])
        x = program.input("x")
        there = x if program is before else program.copy("x__atlas0", x, "atlas0")
        program.output(program.call("y", "net", there), device="atlas0")
        program.output(program.call("z", "other", there, there), device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_a_copy_that_the_user_wrote_is_used_instead_of_a_new_one() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0")
        x = program.input("x")
        mine = program.copy("mine", x, "atlas0")
        program.output(program.call("y", "net", x if program is before else mine), device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_what_was_copied_to_a_device_is_read_on_the_cpu_where_it_came_from() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        there = program.copy("there", x, "atlas0")
        program.output(program.relu("y", there if program is before else x))
        program.output(there, device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_an_output_comes_to_the_cpu_unless_it_is_wanted_elsewhere() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0", outputs=["float32", "float32"])
        both = program.call("both", "net", program.input("x", device="atlas0"))
        left, right = program.part("left", both, 0), program.part("right", both, 1)
        program.output(left if program is before else program.copy("left__cpu", left, "cpu"))
        program.output(right, device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_constants_are_copied_to_offline_models() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    constant = before.constant()
    for program in (before, expected):
        program.model("net", "atlas0", ["float32", "float32"])
        there = constant if program is before else program.copy("constant__atlas0", constant, "atlas0")
        program.output(program.call("y", "net", there, there), device="atlas0")
    assert_makes(InsertCopies(), before.module(), expected.module())


def test_calls_in_a_row_on_one_device_cross_nothing() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0")
    program.output(program.call("z", "net", program.call("y", "net", program.input("x", device="atlas0"))), device="atlas0")
    assert_leaves(InsertCopies(), program.module())


def test_a_fallback_region_on_the_cpu_crosses_nothing() -> None:
    program = SmallProgram(placed=True)
    program.model("region", "cpu")
    program.output(program.relu("z", program.call("y", "region", program.relu("r", program.input("x")))))
    assert_leaves(InsertCopies(), program.module())


def test_a_device_without_a_link_is_an_error_that_names_the_value() -> None:
    program = SmallProgram(placed=True, links=[["atlas0", "cpu"]], names={"x": "images:0"})
    program.model("net", "gpu0")
    program.output(program.call("y", "net", program.input("x")), device="gpu0")
    with pytest.raises(PlacementError) as caught:
        InsertCopies().run(program.module())
    assert str(caught.value) == "small.onnx:images:0: no way from cpu to gpu0\n  hint: links of this topology: atlas0 - cpu"
