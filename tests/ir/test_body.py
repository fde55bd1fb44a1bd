"""The body of a program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from landbridge.ir.body import (
    Binding,
    Body,
    extern_symbol,
    infer_type,
    is_cast,
    is_constant,
    is_copy,
    is_extern,
    is_operator,
    is_value,
    operands,
    operator_name,
    substitute,
)
from landbridge.ir.devices import VDevices, device_of
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PassError
from support.small_programs import SmallProgram

TENSOR = relax.TensorType((2, 3), "float32")


def _var(name: str, of_type: Any = TENSOR) -> Any:
    return relax.Var(name, of_type)


X, Y = _var("x"), _var("y")


def _module(*bindings: Binding, outputs: tuple[Any, ...]) -> tvm.IRModule:
    return Body((X,), bindings, outputs).write(tvm.IRModule(), VDevices())


def test_what_is_written_is_read_back() -> None:
    z = _var("z")
    body = Body.of(_module(Binding(Y, relax.op.nn.relu(X)), Binding(z, relax.op.add(Y, X)), outputs=(z, X)))
    assert [param.name for param in body.params] == ["x"]
    assert [binding.var.name for binding in body.bindings] == ["y", "z"]
    assert [output.name for output in body.outputs] == ["z", "x"]
    assert operands(body.bindings[1].value) == (body.bindings[0].var, body.params[0])
    assert body.outputs[0].same_as(body.bindings[1].var)


def test_a_program_returns_a_tuple_even_of_one() -> None:
    module = _module(Binding(Y, relax.op.nn.relu(X)), outputs=(Y,))
    assert isinstance(module["main"].ret_ty, tvm.ir.TupleType)


def test_a_returned_variable_that_stands_for_a_tuple_is_looked_through() -> None:
    builder = relax.BlockBuilder()
    with builder.function("main", [X]):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple([builder.emit(relax.op.nn.relu(X)), X]))
        builder.emit_func_output(result)
    body = Body.of(builder.finalize())
    assert len(body.bindings) == 1
    assert len(body.outputs) == 2


def test_a_module_that_is_no_program_is_refused() -> None:
    with pytest.raises(PassError, match="no function main"):
        Body.of(tvm.IRModule())


def test_a_program_that_returns_no_tuple_is_refused() -> None:
    builder = relax.BlockBuilder()
    with builder.function("main", [X]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(X))
        builder.emit_func_output(result)
    with pytest.raises(PassError, match="does not return a tuple"):
        Body.of(builder.finalize())


def test_control_flow_is_refused() -> None:
    condition = _var("c", relax.TensorType((), "bool"))
    builder = relax.BlockBuilder()
    with builder.function("main", [condition, X]):
        result = builder.emit(relax.If(condition, relax.SeqExpr([], X), relax.SeqExpr([], X)))
        builder.emit_func_output(relax.Tuple([result]))
    with pytest.raises(PassError, match="control flow"):
        Body.of(builder.finalize())


def test_a_match_cast_is_refused() -> None:
    unknown = _var("u", relax.TensorType(dtype="float32", ndim=2))
    builder = relax.BlockBuilder()
    with builder.function("main", [unknown]):
        with builder.dataflow():
            result = builder.emit_output(builder.match_cast(unknown, TENSOR))
        builder.emit_func_output(relax.Tuple([result]))
    with pytest.raises(PassError, match="match_cast"):
        Body.of(builder.finalize())


def test_writing_keeps_attributes_and_does_not_touch_the_module() -> None:
    before = _module(Binding(Y, relax.op.nn.relu(X)), outputs=(Y,)).with_attr("landbridge.model", "m")
    text = before.script()
    body = Body.of(before)
    after = Body(body.params, (), (body.params[0],)).write(before, VDevices(before))
    assert after.attrs["landbridge.model"] == "m"
    assert Body.of(after).bindings == ()
    assert before.script() == text


def test_variables_types_are_the_authority() -> None:
    """Relax's inference would refuse operands on two devices, and would give the result of a pad no device."""
    vdevices = VDevices()
    here, there = _var("here", vdevices.on(TENSOR, CPU)), _var("there", vdevices.on(TENSOR, Device("gpu")))
    total = _var("total", vdevices.on(TENSOR, Device("gpu")))
    padded = _var("padded", vdevices.on(relax.TensorType((2, 5), "float32"), CPU))
    bindings = (Binding(total, relax.op.add(here, there)), Binding(padded, relax.op.nn.pad(here, (0, 0, 1, 1))))
    body = Body.of(Body((here, there), bindings, (total, padded)).write(tvm.IRModule(), vdevices))
    assert [device_of(binding.var) for binding in body.bindings] == [Device("gpu"), CPU]
    assert [device_of(binding.value) for binding in body.bindings] == [Device("gpu"), CPU]


def test_a_call_of_an_offline_model_repeats_its_results_types() -> None:
    vdevices = VDevices()
    result = vdevices.on(TENSOR, Device("gpu"))
    call = relax.call_dps_packed("net", relax.Tuple([X]), out_ty=[TENSOR])
    module = Body((X,), (Binding(_var("y", result), call),), (X,)).write(tvm.IRModule(), vdevices)
    assert device_of(Body.of(module).bindings[0].value.ty_args[0]) == Device("gpu")


def test_renaming_replaces_a_variable_everywhere() -> None:
    body = Body((X,), (Binding(Y, relax.op.nn.relu(X)), Binding(_var("z"), relax.op.add(Y, X))), (Y, X))
    other, input_ = _var("other"), _var("input")
    renamed = body.renamed({Y: other, X: input_})
    assert renamed.params == (input_,)
    assert renamed.bindings[0].var.same_as(other)
    assert operands(renamed.bindings[1].value) == (other, input_)
    assert renamed.outputs == (other, input_)


def test_substituting_nothing_gives_the_same_object() -> None:
    for value in (X, relax.op.add(X, Y), relax.Tuple([X, Y]), relax.TupleGetItem(_var("t", tvm.ir.TupleType([TENSOR])), 0)):
        assert substitute(value, {}) is value


def test_substitution_reaches_constants_and_nested_tuples() -> None:
    constant = relax.const(np.ones((2, 3), "float32"))
    concat = substitute(relax.op.concat([X, constant]), {constant: Y})
    assert operands(concat) == (X, Y)
    nested = substitute(relax.Tuple([X, relax.Tuple([X])]), {X: Y})
    assert operands(nested) == (Y, Y)


def test_operands_are_tensors_only() -> None:
    constant = relax.const(np.ones((2, 3), "float32"))
    assert operands(relax.op.reshape(X, (3, 2))) == (X,)
    assert operands(relax.op.add(X, constant)) == (X, constant)
    assert operands(relax.call_dps_packed("net", relax.Tuple([X, Y]), out_ty=[TENSOR])) == (X, Y)
    assert operands(X) == (X,)


def test_symbolic_dimensions_are_no_values() -> None:
    assert not is_value(tvm.tirx.Var("n", "int64"))
    assert not is_value(relax.ShapeExpr([1]))
    assert is_value(X)
    assert is_constant(relax.const(1.0))
    assert not is_constant(tvm.tirx.IntImm("int64", 1))


def test_what_a_value_is() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0")
    copy = program.copy("c", program.input("x"), "atlas0")
    call = program.call("y", "net", copy)
    cast = program.cast("h", program.copy("b", call, "cpu"), "float16")
    program.relu("z", cast)
    of_copy, of_call, _, of_cast, of_relu = (binding.value for binding in program.bindings)
    assert [is_copy(of_copy), is_extern(of_call), is_cast(of_cast), is_operator(of_relu)] == [True] * 4
    assert [is_operator(value) for value in (of_copy, of_call, of_cast, X)] == [False] * 4
    assert extern_symbol(of_call) == "net"
    assert operator_name(of_relu) == "nn.relu"


def test_inference_of_one_type() -> None:
    assert [int(extent) for extent in infer_type(relax.op.permute_dims(X)).shape.values] == [3, 2]
