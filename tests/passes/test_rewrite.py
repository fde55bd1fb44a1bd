"""What the passes share."""

from __future__ import annotations

from tvm import relax

from landbridge.ir.body import Body, operands
from landbridge.ir.devices import device_of
from landbridge.passes.rewrite import Deriver, origins, reading, with_operands
from landbridge.runtime.device import CPU, Device
from support.small_programs import SmallProgram


def test_operands_are_replaced_by_position_also_within_tuples() -> None:
    program = SmallProgram(placed=False)
    x, y = program.input("x"), program.input("y")
    concat = relax.op.concat([x, x, y], axis=0)
    assert operands(with_operands(concat, [x, y, x])) == (x, y, x)
    assert with_operands(concat, [x, y, x]).attrs == concat.attrs


def test_a_binding_whose_operands_are_replaced_by_themselves_is_the_same_object() -> None:
    program = SmallProgram(placed=False)
    x = program.input("x")
    program.output(program.add("y", x, program.constant()))
    (binding,) = Body.of(program.module()).bindings
    assert reading(binding, {operand: operand for operand in operands(binding.value)}) is binding


def test_the_origin_of_a_copy_is_what_the_first_copy_was_made_of() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    first = program.copy("first", x, "atlas0")
    second = program.copy("second", first, "cpu")
    narrow = program.cast("narrow", second, "float16")
    third = program.copy("third", narrow, "gpu0")
    program.output(third, device="gpu0")
    assert origins(Body(tuple(program.params), tuple(program.bindings), (third,))) == {first: x, second: x, third: narrow}


def test_derived_values_lead_back_to_their_names_and_never_share_one() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    program.output(program.copy("x__atlas0", x, "atlas0"), device="atlas0")
    module = program.module()
    body = Body.of(module)
    derive = Deriver(module, body)
    made = [
        derive.copy(body.params[0], Device("atlas")),
        derive.copy(body.params[0], Device("atlas")),
        derive.cast(program.constant(), "int8"),
    ]
    assert [str(binding.var.name) for binding in made] == ["x__atlas0_2", "x__atlas0_3", "constant__int8"]


def test_a_cast_of_a_value_of_unknown_shape_keeps_its_rank_and_is_on_the_cpu() -> None:
    x = relax.Var("x", relax.TensorType(dtype="float32", ndim=2))
    body = Body((x,), (), ())
    cast = Deriver(SmallProgram(placed=True).module(), body).cast(x, "float16")
    assert (cast.var.ty.ndim, str(cast.var.ty.dtype), device_of(cast.var)) == (2, "float16", CPU)
