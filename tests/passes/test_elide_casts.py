"""Casts that change nothing, and casts that do."""

from __future__ import annotations

import pytest

from landbridge.passes.base import Declined
from landbridge.passes.elide_casts import ElideCasts, why_not_shorter
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram


def chain(*dtypes: str) -> SmallProgram:
    """A value of the first type, cast to each of the others in turn."""
    program = SmallProgram(placed=True)
    value = program.input("x", dtypes[0])
    for index, dtype in enumerate(dtypes[1:]):
        value = program.cast(f"c{index}", value, dtype)
    program.output(value)
    return program


def test_a_cast_to_the_type_that_the_value_has_is_gone() -> None:
    assert_makes(ElideCasts(), chain("float32", "float32").module(), chain("float32").module())


def test_a_cast_that_was_done_before_is_the_first_one() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        first = program.cast("first", x, "float16")
        program.output(program.add("y", first, program.cast("second", x, "float16") if program is before else first))
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_widening_and_back_is_the_value_itself() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x", "float16")
        wide = program.cast("wide", x, "float32")
        program.output(program.cast("back", wide, "float16") if program is before else x)
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_from_uint8_by_way_of_float32_to_float16_goes_directly() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x", "uint8")
        wide = program.cast("wide", x, "float32")
        program.output(program.cast("narrow", wide if program is before else x, "float16"))
        program.output(wide)
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_narrowing_rounds_so_it_stays() -> None:
    program = chain("float32", "float16", "float32").module()
    assert_leaves(ElideCasts(), program)
    assert ElideCasts().declined(program) == (Declined("float32 to float16 rounds", at="c1"),)


def test_an_integer_between_loses_the_fraction_so_it_stays() -> None:
    program = chain("float32", "int32", "uint8").module()
    assert_leaves(ElideCasts(), program)
    assert ElideCasts().declined(program) == (Declined("float32 to int32 wraps or truncates", at="c1"),)


def test_a_narrower_integer_between_wraps_so_it_stays() -> None:
    assert_leaves(ElideCasts(), chain("int32", "int8", "int32").module())


def test_an_integer_that_the_float_between_rounds_stays() -> None:
    assert_leaves(ElideCasts(), chain("int32", "float32", "int32").module())


def test_a_long_chain_starts_as_far_up_as_nothing_is_lost() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        half = program.cast("half", program.input("x"), "float16")
        wide = program.cast("wide", half, "float32")
        wider = program.cast("wider", wide if program is before else half, "float64")
        program.output(program.cast("brain", wider if program is before else half, "bfloat16"))
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_it_looks_through_copies_between_two_casts() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x", "float16")
        there = program.copy("there", program.cast("wide", x, "float32"), "atlas0")
        back = program.copy("back", there, "cpu")
        program.output(program.relu("y", program.cast("half", back, "float16") if program is before else x))
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_casts_of_copies_of_one_value_are_one_cast() -> None:
    before, expected = SmallProgram(placed=True), SmallProgram(placed=True)
    for program in (before, expected):
        x = program.input("x")
        back = program.copy("back", program.copy("there", x, "atlas0"), "cpu")
        first = program.cast("first", x, "float16")
        program.output(program.add("y", first, program.cast("second", back, "float16") if program is before else first))
    assert_makes(ElideCasts(), before.module(), expected.module())


def test_casts_to_different_types_stay() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    program.output(program.cast("half", x, "float16"))
    program.output(program.cast("double", x, "float64"))
    assert_leaves(ElideCasts(), program.module())


@pytest.mark.parametrize(
    ("source", "middle", "reason"),
    [
        ("float16", "float32", None),
        ("bool", "uint8", None),
        ("int16", "float32", None),
        ("float16", "bfloat16", "float16 to bfloat16 rounds"),
        ("int8", "uint8", "int8 to uint8 wraps or truncates"),
        ("uint8", "bool", "uint8 to bool wraps or truncates"),
        ("int64", "float64", "int64 to float64 rounds"),
    ],
)
def test_a_type_between_must_hold_every_value_of_the_first(source: str, middle: str, reason: str | None) -> None:
    assert why_not_shorter(source, middle) == reason
