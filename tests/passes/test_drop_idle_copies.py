"""Copies to where a value is."""

from __future__ import annotations

from landbridge.passes.drop_idle_copies import DropIdleCopies
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram


def test_a_copy_to_where_the_value_is_gives_way_to_the_value() -> None:
    before = SmallProgram(placed=True)
    x = before.input("x")
    again = before.copy("again", before.copy("same", x, "cpu"), "cpu")
    before.output(before.relu("y", again))
    before.output(again)

    expected = SmallProgram(placed=True)
    x = expected.input("x")
    expected.output(expected.relu("y", x))
    expected.output(x)
    assert_makes(DropIdleCopies(), before.module(), expected.module())


def test_a_copy_of_a_constant_to_the_cpu_is_the_constant() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    before.output(before.copy("same", before.constant(), "cpu"))
    expected.output(expected.constant())
    assert_makes(DropIdleCopies(), before.module(), expected.module())


def test_a_copy_that_crosses_stays() -> None:
    program = SmallProgram(placed=True)
    there = program.copy("there", program.input("x"), "atlas0")
    program.output(program.copy("back", there, "cpu"))
    program.output(program.copy("other", there, "atlas1"), device="atlas1")
    assert_leaves(DropIdleCopies(), program.module())
