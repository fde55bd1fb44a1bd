"""Where each value lives."""

from __future__ import annotations

from tvm import relax

from landbridge.ir.body import Body
from landbridge.ir.devices import VDevices, device_of, same_vdevice
from landbridge.passes.infer_devices import InferDevices
from landbridge.runtime.device import Device
from support.running_passes import assert_leaves, assert_makes, run_twice
from support.small_programs import SmallProgram


def build(*, placed: bool) -> SmallProgram:
    """One of everything; operands are not yet where their operators run."""
    program = SmallProgram(placed=placed)
    program.model("net", "atlas1", ["float32", "float32"], ["float32", "float16"])
    x, y = program.input("x"), program.input("y", device="gpu0")
    program.copy("x_there", x, "atlas0")
    both = program.call("both", "net", program.relu("r", y), program.constant())
    second = program.part("second", both, 1)
    program.output(program.cast("c", second, "float32"))
    program.output(second, device="atlas1")
    return program


def test_operators_are_on_the_cpu_offline_models_on_their_device_and_copies_where_they_go() -> None:
    assert_makes(InferDevices(), build(placed=False).module(), build(placed=True).module())


def test_a_module_with_all_its_devices_is_left_alone() -> None:
    assert_leaves(InferDevices(), build(placed=True).module())


def test_every_device_is_one_object_whatever_the_front_end_made() -> None:
    program = SmallProgram(placed=False)
    x = program.input("x")
    another = VDevices().get(Device("atlas"))
    program.bind("there", relax.op.to_vdevice(x, another), x.ty)
    second = program.copy("there_too", x, "atlas0")
    program.output(second, device="atlas0")
    bindings = Body.of(run_twice(InferDevices(), program.module())).bindings
    assert same_vdevice(bindings[0].value.attrs.dst_vdevice, bindings[1].value.attrs.dst_vdevice)


def test_a_device_that_contradicts_the_operator_is_corrected() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    wrong = program.vdevices.on(x.ty, Device("atlas"))
    program.output(program.bind("y", relax.op.nn.relu(x), wrong))
    (output,) = Body.of(run_twice(InferDevices(), program.module())).outputs
    assert device_of(output) == Device("cpu")


def test_symbolic_shapes_and_shape_values_keep_their_types() -> None:
    program = SmallProgram(placed=False)
    x = program.input("x")
    program.bind("s", relax.op.shape_of(x), relax.ShapeType([2, 3]))
    program.output(program.relu("y", x))
    body = Body.of(InferDevices().run(program.module()))
    assert isinstance(body.bindings[0].var.ty, relax.ShapeType)
