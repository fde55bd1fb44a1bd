"""Casts at offline models' inputs."""

from __future__ import annotations

from landbridge.passes.convert_dtypes import ConvertDtypes
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram, names_in


def test_what_an_offline_model_is_given_is_converted_to_what_it_expects() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float16"], ["float16"])
    before.output(before.call("y", "net", before.input("x")), device="atlas0")

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0", ["float16"], ["float16"])
    narrow = expected.cast("x__float16", expected.input("x"), "float16")
    expected.output(expected.call("y", "net", narrow), device="atlas0")
    assert_makes(ConvertDtypes(), before.module(), expected.module())
    assert names_in(ConvertDtypes().run(before.module())) == ["x__float16", "y"]


def test_one_cast_serves_all_calls_that_want_the_type() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float16"])
    before.model("other", "gpu0", ["float16", "float16"])
    x = before.input("x")
    before.output(before.call("y", "net", x), device="atlas0")
    before.output(before.call("z", "other", x, x), device="gpu0")

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0", ["float16"])
    expected.model("other", "gpu0", ["float16", "float16"])
    narrow = expected.cast("x__float16", expected.input("x"), "float16")
    expected.output(expected.call("y", "net", narrow), device="atlas0")
    expected.output(expected.call("z", "other", narrow, narrow), device="gpu0")
    assert_makes(ConvertDtypes(), before.module(), expected.module())


def test_a_value_that_is_wanted_in_two_types_is_converted_for_one_input_and_not_for_the_other() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float32", "float16"])
    x = before.input("x")
    before.output(before.call("y", "net", x, x), device="atlas0")

    expected = SmallProgram(placed=True)
    expected.model("net", "atlas0", ["float32", "float16"])
    x = expected.input("x")
    narrow = expected.cast("x__float16", x, "float16")
    expected.output(expected.call("y", "net", x, narrow), device="atlas0")
    assert_makes(ConvertDtypes(), before.module(), expected.module())


def test_a_constant_is_converted_too() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float16"])
    before.output(before.call("y", "net", before.constant("uint8")), device="atlas0")
    assert names_in(ConvertDtypes().run(before.module())) == ["constant__float16", "y"]


def test_a_derived_name_that_is_taken_gets_a_number() -> None:
    before = SmallProgram(placed=True)
    before.model("net", "atlas0", ["float16"])
    before.model("other", "atlas0", ["float64"])
    x = before.input("x")
    before.output(before.relu("x__float16", x))
    before.output(before.call("y", "net", x), device="atlas0")
    assert names_in(ConvertDtypes().run(before.module())) == ["x__float16", "x__float16_2", "y"]


def test_what_has_the_type_already_is_left_alone() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float16"])
    program.output(program.call("y", "net", program.input("x", "float16")), device="atlas0")
    program.output(program.relu("z", program.input("w", "float64")))
    assert_leaves(ConvertDtypes(), program.module())


def test_a_conversion_that_only_the_user_can_ask_for_is_not_made() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["uint8"])
    program.output(program.call("y", "net", program.input("x")), device="atlas0")
    assert_leaves(ConvertDtypes(), program.module())
