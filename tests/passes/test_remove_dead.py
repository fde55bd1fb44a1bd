"""What no output needs."""

from __future__ import annotations

from landbridge.passes.remove_dead import RemoveDead
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram


def test_what_no_output_needs_is_gone_with_all_that_only_it_needed() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        program.model("net", "atlas0", outputs=["float32", "float32"])
        x = program.input("x")
        program.input("unused")
        if program is before:
            both = program.call("both", "net", program.copy("there", x, "atlas0"))
            program.cast("narrow", program.copy("out", program.part("left", both, 0), "cpu"), "float16")
        program.output(program.relu("y", x))
    assert_makes(RemoveDead(), before.module(), expected.module())


def test_what_an_output_needs_stays_also_through_tuples() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "cpu", outputs=["float32", "float32"])
    both = program.call("both", "net", program.relu("r", program.input("x")))
    program.output(program.part("right", both, 1))
    assert_leaves(RemoveDead(), program.module())
