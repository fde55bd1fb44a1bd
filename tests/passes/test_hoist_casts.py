"""Casts on the CPU, above the copies."""

from __future__ import annotations

from landbridge.passes.base import Declined
from landbridge.passes.hoist_casts import HoistCasts
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram


def test_a_cast_asked_for_behind_a_copy_moves_above_it() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float16"])
    there = before.copy("there", before.input("x"), "atlas0")
    before.output(before.call("y", "net", before.cast("narrow", there, "float16")), device="atlas0")

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0", ["float16"])
    x = expected.input("x")
    expected.copy("there", x, "atlas0")
    expected.output(expected.call("y", "net", expected.cast("narrow", x, "float16")), device="atlas0")
    assert_makes(HoistCasts(), before.module(), expected.module())


def test_a_cast_of_what_an_offline_model_made_moves_below_a_copy_out() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", outputs=["float16"])
    y = before.call("y", "net", before.copy("there", before.input("x"), "atlas0"))
    before.output(before.cast("wide", y, "float32"))
    before.output(before.cast("integer", y, "int32"))

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0", outputs=["float16"])
    y = expected.call("y", "net", expected.copy("there", expected.input("x"), "atlas0"))
    out = expected.copy("y__cpu", y, "cpu")
    expected.output(expected.cast("wide", out, "float32"))
    expected.output(expected.cast("integer", out, "int32"))
    assert_makes(HoistCasts(), before.module(), expected.module())


def test_a_copy_out_that_the_user_wrote_is_used() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x", device="atlas0")
        out = program.copy("out", x, "cpu")
        program.output(program.relu("z", out))
        program.output(program.cast("wide", x if program is before else out, "float64"))
    assert_makes(HoistCasts(), before.module(), expected.module())


def test_it_looks_through_copies_from_device_to_device() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        far = program.copy("far", program.copy("near", x, "gpu0"), "atlas0")
        program.output(program.cast("narrow", far if program is before else x, "float16"))
    assert_makes(HoistCasts(), before.module(), expected.module())


def test_behind_more_copies_than_it_looks_through_it_copies_out_and_says_so() -> None:
    program = SmallProgram(placed=True, names={"narrow": "/cast"})
    near = program.copy("near", program.input("x"), "gpu0")
    program.output(program.cast("narrow", program.copy("far", near, "atlas0"), "float16"))
    shallow = HoistCasts(max_depth=1)

    expected = SmallProgram(placed=True, names={"narrow": "/cast"})
    near = expected.copy("near", expected.input("x"), "gpu0")
    expected.copy("far", near, "atlas0")
    expected.output(expected.cast("narrow", expected.copy("near__cpu", near, "cpu"), "float16"))
    assert_makes(shallow, program.module(), expected.module())
    assert shallow.declined(program.module()) == (Declined("it is behind more copies than max-depth=1", at="/cast"),)
    assert HoistCasts().declined(program.module()) == ()


def test_a_cast_of_a_value_on_the_cpu_stays() -> None:
    program = SmallProgram(placed=True)
    narrow = program.cast("narrow", program.input("x"), "float16")
    program.output(program.copy("there", narrow, "atlas0"), device="atlas0")
    program.output(program.cast("of_a_constant", program.constant(), "float16"))
    assert_leaves(HoistCasts(), program.module())
