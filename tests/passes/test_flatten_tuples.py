"""Tuples taken apart."""

from __future__ import annotations

from tvm import relax
from tvm.ir import TupleType

from landbridge.passes.flatten_tuples import FlattenTuples
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram, names_in


def test_a_part_of_a_written_tuple_is_the_value_itself() -> None:
    before = SmallProgram(placed=False)
    x = before.input("x")
    y = before.relu("y", x)
    pair = before.bind("pair", relax.Tuple([x, y]), TupleType([x.ty, y.ty]))
    before.output(before.relu("z", before.part("second", pair, 1)))

    expected = SmallProgram(placed=False)
    expected.output(expected.relu("z", expected.relu("y", expected.input("x"))))
    assert_makes(FlattenTuples(), before.module(), expected.module())


def test_a_tuple_that_an_operator_takes_whole_is_taken_apart() -> None:
    before = SmallProgram(placed=False)
    before.model("net", "atlas0", outputs=["float32", "float32"])
    both = before.call("both", "net", before.input("x"))
    before.output(before.bind("z", relax.op.concat(both, axis=0), relax.TensorType((4, 3), "float32")))

    expected = SmallProgram(placed=False)
    expected.model("net", "atlas0", outputs=["float32", "float32"])
    both = expected.call("both", "net", expected.input("x"))
    parts = [expected.part("both__0", both, 0), expected.part("both__1", both, 1)]
    expected.output(expected.bind("z", relax.op.concat(parts, axis=0), relax.TensorType((4, 3), "float32")))
    assert_makes(FlattenTuples(), before.module(), expected.module())
    assert names_in(FlattenTuples().run(before.module())) == ["both", "both__0", "both__1", "z"]


def test_a_second_name_of_a_value_gives_way_to_the_value() -> None:
    before = SmallProgram(placed=False)
    x = before.input("x")
    same = before.bind("same", x, x.ty)
    before.output(before.add("z", before.bind("again", same, x.ty), x))
    before.output(same)

    expected = SmallProgram(placed=False)
    x = expected.input("x")
    expected.output(expected.add("z", x, x))
    expected.output(x)
    assert_makes(FlattenTuples(), before.module(), expected.module())


def test_the_part_of_a_renamed_tuple_is_the_part_of_the_tuple() -> None:
    before = SmallProgram(placed=False)
    before.model("net", "atlas0", outputs=["float32", "float32"])
    both = before.call("both", "net", before.input("x"))
    renamed = before.bind("renamed", both, both.ty)
    before.output(before.part("first", renamed, 0))

    expected = SmallProgram(placed=False)
    expected.model("net", "atlas0", outputs=["float32", "float32"])
    expected.output(expected.part("first", expected.call("both", "net", expected.input("x")), 0))
    assert_makes(FlattenTuples(), before.module(), expected.module())


def test_parts_of_results_stay_as_they_are() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", outputs=["float32", "float32"])
    both = program.call("both", "net", program.input("x"))
    program.output(program.part("second", both, 1))
    assert_leaves(FlattenTuples(), program.module())


def test_a_tuple_written_in_an_operand_stays() -> None:
    program = SmallProgram(placed=False)
    x = program.input("x")
    program.output(program.bind("z", relax.op.concat([x, x], axis=0), relax.TensorType((4, 3), "float32")))
    assert_leaves(FlattenTuples(), program.module())
