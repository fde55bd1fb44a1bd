"""As few copies as can be."""

from __future__ import annotations

from landbridge.passes.elide_copies import ElideCopies
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram, names_in


def test_a_round_trip_is_gone() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        back = x if program is expected else program.copy("back", program.copy("there", x, "atlas0"), "cpu")
        program.output(program.relu("y", back))
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_a_value_that_comes_back_to_the_device_that_made_it_never_leaves() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0")
        y = program.call("y", "net", program.input("x", device="atlas0"))
        again = y if program is expected else program.copy("again", program.copy("out", y, "cpu"), "atlas0")
        program.output(program.call("z", "net", again), device="atlas0")
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_a_second_copy_of_a_value_to_a_device_is_the_first() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0", ["float32", "float32"])
        x = program.input("x")
        first = program.copy("first", x, "atlas0")
        second = first if program is expected else program.copy("second", x, "atlas0")
        program.output(program.call("y", "net", first, second), device="atlas0")
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_two_ways_out_of_a_device_are_one() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x", device="gpu0")
        out = program.copy("out", x, "cpu")
        there = program.copy("there", program.copy("out2", x, "cpu") if program is before else out, "atlas0")
        program.output(program.relu("y", out))
        program.output(there, device="atlas0")
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_a_copy_that_nobody_reads_is_gone() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        if program is before:
            program.copy("there", x, "atlas0")
        program.output(x)
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_copies_are_right_behind_what_they_copy_and_keep_their_names() -> None:
    before = SmallProgram(placed=True)
    x, y = before.input("x"), before.relu("y", before.input("w"))
    z = before.relu("z", y)
    before.output(before.copy("mine", x, "atlas0"), device="atlas0")
    before.output(before.copy("y_there", y, "gpu0"), device="gpu0")
    before.output(z)

    expected = SmallProgram(placed=True)
    x, w = expected.input("x"), expected.input("w")
    expected.output(expected.copy("mine", x, "atlas0"), device="atlas0")
    y = expected.relu("y", w)
    expected.output(expected.copy("y_there", y, "gpu0"), device="gpu0")
    expected.output(expected.relu("z", y))
    assert_makes(ElideCopies(), before.module(), expected.module())
    assert names_in(ElideCopies().run(before.module())) == ["mine", "y", "y_there", "z"]


def test_of_two_copies_the_one_that_the_user_named_stays() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float32", "float32"])
    x = program.input("x")
    derived, mine = program.copy("x__atlas0", x, "atlas0"), program.copy("mine", x, "atlas0")
    program.output(program.call("y", "net", derived, mine), device="atlas0")
    assert names_in(ElideCopies().run(program.module())) == ["mine", "y"]


def test_a_constant_crosses_once_where_it_is_first_needed() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    constant = before.constant()
    for program in (before, expected):
        program.model("net", "atlas0", ["float32", "float32"])
        x = program.input("x", device="atlas0")
        first = program.copy("first", constant, "atlas0")
        y = program.call("y", "net", x, first)
        second = program.copy("second", constant, "atlas0") if program is before else first
        program.output(program.call("z", "net", y, second), device="atlas0")
        program.output(second, device="atlas0")
    assert_makes(ElideCopies(), before.module(), expected.module())


def test_a_constant_that_is_an_output_on_a_device_is_copied_there() -> None:
    program = SmallProgram(placed=True)
    program.output(program.copy("there", program.constant(), "atlas0"), device="atlas0")
    assert_leaves(ElideCopies(), program.module())


def test_copies_that_are_needed_stay() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", outputs=["float32", "float32"])
    x = program.input("x")
    both = program.call("both", "net", program.copy("there", x, "atlas0"))
    left = program.part("left", both, 0)
    out = program.copy("out", left, "cpu")
    program.output(program.add("z", program.relu("y", x), out))
    program.output(left, device="atlas0")
    assert_leaves(ElideCopies(), program.module())
