"""Text that parses back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body
from landbridge.ir.devices import VDevices
from landbridge.ir.printer import RENAMED, parse, print_module
from landbridge.ir.program import ModuleInfo
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import ModelError
from support.small_programs import SHAPE, SmallProgram, names_in


def assert_survives(module: tvm.IRModule) -> tvm.IRModule:
    text = print_module(module)
    again = parse(text)
    tvm.ir.assert_structural_equal(again, module)
    assert names_in(again) == names_in(module)
    assert print_module(again) == text
    return again


def _of(bindings: list[Binding], params: tuple[Any, ...], vdevices: VDevices) -> tvm.IRModule:
    return Body(params, tuple(bindings), tuple(binding.var for binding in bindings[-1:])).write(tvm.IRModule(), vdevices)


@pytest.mark.parametrize("placed", [True, False])
def test_a_program_with_offline_models(placed: bool) -> None:
    program = SmallProgram(placed=placed, names={"r": "/relu:0"}, links=[["cpu", "atlas0"]])
    program.model("net", "atlas0", outputs=["float32", "float16"])
    x = program.input("x")
    whole = program.call("t", "net", program.copy("there", program.add("r", x, program.constant()), "atlas0"))
    program.output(program.relu("y", program.copy("back", program.part("a", whole, 0), "cpu")), "/y:0", "cpu")
    program.output(program.part("b", whole, 1), device="atlas0")
    module = program.module()
    assert ModuleInfo.of(assert_survives(module)).attributes == ModuleInfo.of(module).attributes


def test_several_devices_of_a_kind_and_several_kinds() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    for name in ("gpu0", "gpu1", "atlas1", "openvino0"):
        program.output(program.copy(f"x__{name}", x, name), device=name)
    assert_survives(program.module())


def test_operators_for_which_relaxs_inference_drops_the_device() -> None:
    vdevices = VDevices()
    image = vdevices.on(relax.TensorType((1, 3, 4, 4), "float32"), CPU)
    channel = vdevices.on(relax.TensorType((3,), "float32"), CPU)
    x = relax.Var("x", image)
    scale = relax.const(np.ones(3, "float32"))
    padded = relax.Var("padded", vdevices.on(relax.TensorType((1, 3, 6, 6), "float32"), CPU))
    normal = relax.Var("normal", tvm.ir.TupleType([padded.ty, channel, channel]))
    mean = relax.Var("mean", channel)
    bindings = [
        Binding(padded, relax.op.nn.pad(x, (0, 0, 0, 0, 1, 1, 1, 1))),
        Binding(normal, relax.op.nn.batch_norm(padded, scale, scale, scale, scale, 1)),
        Binding(mean, relax.TupleGetItem(normal, 1)),
    ]
    assert_survives(_of(bindings, (x,), vdevices))


def test_operands_on_two_devices_which_relaxs_inference_refuses() -> None:
    vdevices = VDevices()
    tensor = relax.TensorType(SHAPE, "float32")
    x, g = relax.Var("x", vdevices.on(tensor, CPU)), relax.Var("g", vdevices.on(tensor, Device("gpu")))
    copy = Binding(relax.Var("c", vdevices.on(tensor, Device("atlas"))), relax.op.to_vdevice(x, vdevices.get(Device("atlas"))))
    total = Binding(relax.Var("s", tensor), relax.op.add(copy.var, g))
    assert_survives(_of([copy, total], (x, g), vdevices))


def test_a_returned_variable_whose_declared_type_says_more_than_inference() -> None:
    x = relax.Var("x", relax.TensorType(dtype="float32", ndim=2))
    y = Binding(relax.Var("y", relax.TensorType(SHAPE, "float32")), relax.op.nn.relu(x))
    assert_survives(_of([y], (x,), VDevices()))


def test_named_dimensions() -> None:
    n, m = tvm.tirx.Var("n", "int64"), tvm.tirx.Var("m", "int64")
    x = relax.Var("x", relax.TensorType((n, m), "float32"))
    y = Binding(relax.Var("y", relax.TensorType((m * n,), "float32")), relax.op.reshape(x, relax.ShapeExpr([m * n])))
    assert_survives(_of([y], (x,), VDevices()))


def test_offline_models_whose_result_shapes_the_data_tells() -> None:
    x, unknown = relax.Var("x", relax.TensorType(SHAPE, "float32")), relax.TensorType(dtype="float32", ndim=2)
    call = relax.Call(tvm.ir.Op.get("relax.call_dps_packed"), [relax.ExternFunc("net"), relax.Tuple([x])], None, [unknown])
    assert_survives(_of([Binding(relax.Var("y", unknown), call)], (x,), VDevices()))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float64"])
def test_constants_of_any_type(dtype: str) -> None:
    constant = relax.const(np.arange(6).reshape(SHAPE), dtype)
    scalar = relax.const(1, dtype)
    vectors = relax.Var("y", relax.TensorType(SHAPE, dtype))
    x = relax.Var("x", relax.TensorType(SHAPE, dtype))
    bindings = [Binding(relax.Var("m", x.ty), relax.op.maximum(x, scalar)), Binding(vectors, relax.op.maximum(x, constant))]
    module = _of(bindings, (x,), VDevices())
    again = Body.of(assert_survives(module)).bindings[1].value.args[1]
    assert again.value.numpy().tobytes() == constant.value.numpy().tobytes()


def test_values_whose_names_tvmscript_wants_for_itself() -> None:
    n = tvm.tirx.Var("n", "int64")
    tensor = relax.TensorType((n,), "float32")
    params = tuple(relax.Var(name, tensor) for name in ("n", "R", "I", "Module", "metadata", "n_1"))
    bindings = [Binding(relax.Var("T", tensor), relax.op.add(params[0], params[1]))]
    module = _of(bindings, params, VDevices())
    again = assert_survives(module)
    assert [str(param.name) for param in Body.of(again).params] == ["n", "R", "I", "Module", "metadata", "n_1"]
    assert RENAMED not in again.attrs


def test_printing_does_not_touch_the_module() -> None:
    tensor = relax.TensorType(SHAPE, "float32")
    x = relax.Var("R", tensor)
    module = _of([Binding(relax.Var("y", tensor), relax.op.nn.relu(x))], (x,), VDevices())
    print_module(module)
    assert not module.attrs
    assert Body.of(module).params[0].same_as(x)


@pytest.mark.parametrize("text", ["", "nonsense", "@I.ir_module\nclass Module:\n    def", "@I.ir_module\nclass Module:\n    nonsense()\n"])
def test_what_is_no_text_of_a_module_is_an_error(text: str) -> None:
    with pytest.raises(ModelError, match="not the text of a module"):
        parse(text)


@pytest.mark.parametrize("place", ['dst_vdevice="', ', vdevice="'])
def test_a_device_that_the_text_does_not_list_is_an_error(place: str) -> None:
    program = SmallProgram(placed=True)
    program.output(program.copy("g", program.input("x"), "gpu0"))
    text = re.sub(f"{place}ext_dev:[0-9]+:gpu", f"{place}ext_dev:99:gpu", print_module(program.module()))
    with pytest.raises(ModelError, match="device ext_dev:99:gpu is not listed in its global infos"):
        parse(text)
