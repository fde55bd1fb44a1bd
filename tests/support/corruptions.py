"""Single edits that make a legal, placed program illegal. A verifier that lets one pass is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_cast, is_copy, is_extern, is_operator, operands, substitute
from landbridge.ir.devices import VDevices, device_of, on_vdevice
from landbridge.ir.program import EXTERNS, OUTPUTS, TOPOLOGY, attribute
from landbridge.ir.sizes import dtype_of, shape_of
from landbridge.runtime.device import CPU, Device

Corruption = Callable[["Edit"], tvm.IRModule | None]
"""Returns the corrupted module, or None where the program has nothing to corrupt like this."""


class Edit:
    """A program and what corruptions need of it; all choices are the random generator's."""

    def __init__(self, module: tvm.IRModule, rng: random.Random) -> None:
        self.module, self.rng = module, rng
        self.body = Body.of(module)
        self.vdevices = VDevices(module)
        self.devices = [Device.parse(entry["device"]) for entry in attribute(module, EXTERNS, {}).values()]

    def pick(self, accept: Callable[[Binding], bool]) -> Binding | None:
        fitting = [binding for binding in self.body.bindings if accept(binding)]
        return self.rng.choice(fitting) if fitting else None

    def other_device(self, device: Device | None) -> Device | None:
        others = sorted({other for other in (*self.devices, CPU) if other != device})
        return self.rng.choice(others) if others else None

    def accelerator(self) -> Device | None:
        return self.rng.choice(self.devices) if self.devices else None

    def with_bindings(self, bindings: Sequence[Binding]) -> tvm.IRModule:
        return replace(self.body, bindings=tuple(bindings)).write(self.module, self.vdevices)

    def with_value(self, edited: Binding, value: Any) -> tvm.IRModule:
        return self.with_bindings([Binding(b.var, value) if b is edited else b for b in self.body.bindings])

    def with_type(self, edited: Binding, value_type: Any) -> tvm.IRModule:
        return self.body.renamed({edited.var: relax.Var(edited.var.name, value_type)}).write(self.module, self.vdevices)


def drop_a_copy(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: is_copy(binding.value))
    if binding is None:
        return None
    source = operands(binding.value)[0]
    rest = [Binding(b.var, substitute(b.value, {binding.var: source})) for b in edit.body.bindings if b is not binding]
    outputs = tuple(source if output.same_as(binding.var) else output for output in edit.body.outputs)
    if outputs != edit.body.outputs and all(binding.var not in operands(b.value) for b in edit.body.bindings):
        wish = attribute(edit.module, OUTPUTS, [])
        if all(not output.same_as(binding.var) or not wish[i][1] for i, output in enumerate(edit.body.outputs)):
            return None  # an output of no wanted place may be anywhere
    return replace(edit.body, bindings=tuple(rest), outputs=outputs).write(edit.module, edit.vdevices)


def retarget_a_copy(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: is_copy(binding.value))
    device = binding and edit.other_device(device_of(binding.var))
    return binding and device and edit.with_value(binding, relax.op.to_vdevice(operands(binding.value)[0], edit.vdevices.get(device)))


def retarget_a_copy_and_its_result(edit: Edit) -> tvm.IRModule | None:
    used = {operand for b in edit.body.bindings if not is_copy(b.value) for operand in operands(b.value)}
    binding = edit.pick(lambda binding: is_copy(binding.value) and binding.var in used)
    device = edit.other_device(device_of(binding.var)) if binding is not None else None
    if binding is None or device is None:
        return None
    moved = relax.Var(binding.var.name, edit.vdevices.on(binding.var.ty, device))
    body = edit.body.renamed({binding.var: moved})
    copy = relax.op.to_vdevice(operands(binding.value)[0], edit.vdevices.get(device))
    bindings = tuple(Binding(b.var, copy) if b.var.same_as(moved) else b for b in body.bindings)
    return replace(body, bindings=bindings).write(edit.module, edit.vdevices)


def copy_past_the_cpu(edit: Edit) -> tvm.IRModule | None:
    sources = {b.var: operands(b.value)[0] for b in edit.body.bindings if is_copy(b.value)}
    binding = edit.pick(lambda b: is_copy(b.value) and operands(b.value)[0] in sources)
    if binding is None:
        return None
    middle = operands(binding.value)[0]
    return edit.with_value(binding, substitute(binding.value, {middle: sources[middle]}))


def copy_to_where_it_is(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: isinstance(binding.var.ty, relax.TensorType))
    if binding is None:
        return None
    same = edit.vdevices.get(device_of(binding.var) or CPU)
    again = Binding(relax.Var("again", binding.var.ty), relax.op.to_vdevice(binding.var, same))
    return edit.with_bindings([*edit.body.bindings, again])


def move_a_cast_to_a_device(edit: Edit) -> tvm.IRModule | None:
    binding, device = edit.pick(lambda binding: is_cast(binding.value)), edit.accelerator()
    return binding and device and edit.with_type(binding, edit.vdevices.on(binding.var.ty, device))


def cast_on_a_device(edit: Edit) -> tvm.IRModule | None:
    """Copy first, convert behind the copy, on the device."""
    binding, device = edit.pick(lambda binding: is_cast(binding.value)), edit.accelerator()
    if binding is None or device is None:
        return None
    source = operands(binding.value)[0]
    there = relax.Var("there", edit.vdevices.on(source.ty, device))
    copy = Binding(there, relax.op.to_vdevice(source, edit.vdevices.get(device)))
    converted = Binding(relax.Var("converted", edit.vdevices.on(binding.var.ty, device)), substitute(binding.value, {source: there}))
    return edit.with_bindings([*edit.body.bindings, copy, converted])


def drop_a_cast(edit: Edit) -> tvm.IRModule | None:
    read_as_it_is = {operand for b in edit.body.bindings if not is_cast(b.value) for operand in operands(b.value)}
    binding = edit.pick(lambda b: is_cast(b.value) and b.var in read_as_it_is)
    if binding is None:
        return None
    source = operands(binding.value)[0]
    rest = [Binding(b.var, substitute(b.value, {binding.var: source})) for b in edit.body.bindings if b is not binding]
    if any(binding.var.same_as(output) for output in edit.body.outputs):
        return None  # what an output is of is not the rules' affair
    return edit.with_bindings(rest)


def run_an_operator_on_a_device(edit: Edit) -> tvm.IRModule | None:
    binding, device = edit.pick(lambda binding: is_operator(binding.value)), edit.accelerator()
    return binding and device and edit.with_type(binding, edit.vdevices.on(binding.var.ty, device))


def swap_two_arguments(edit: Edit) -> tvm.IRModule | None:
    def different(binding: Binding) -> list[tuple[int, int]]:
        values = operands(binding.value) if is_extern(binding.value) else ()
        kinds = [(dtype_of(value.ty), shape_of(value.ty)) for value in values]
        return [(i, j) for i in range(len(kinds)) for j in range(i) if kinds[i] != kinds[j]]

    binding = edit.pick(lambda binding: bool(different(binding)))
    if binding is None:
        return None
    i, j = edit.rng.choice(different(binding))
    arguments = list(operands(binding.value))
    arguments[i], arguments[j] = arguments[j], arguments[i]
    return edit.with_value(binding, _call(binding, extern_symbol(binding.value), arguments))


def drop_an_argument(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: is_extern(binding.value) and len(operands(binding.value)) > 1)
    return binding and edit.with_value(binding, _call(binding, extern_symbol(binding.value), operands(binding.value)[:-1]))


def call_an_unknown_model(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: is_extern(binding.value))
    return binding and edit.with_value(binding, _call(binding, "unknown", operands(binding.value)))


def change_a_result_type(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda b: is_extern(b.value) and isinstance(b.var.ty, relax.TensorType))
    if binding is None:
        return None
    dtype = "float32" if dtype_of(binding.var.ty) != "float32" else "float16"
    return edit.with_type(binding, relax.TensorType(binding.var.ty.shape, dtype, binding.var.ty.vdevice))


def move_a_result(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: is_extern(binding.value))
    device = binding and edit.other_device(device_of(binding.var))
    return binding and device and edit.with_type(binding, edit.vdevices.on(binding.var.ty, device))


def forget_a_device(edit: Edit) -> tvm.IRModule | None:
    binding = edit.pick(lambda binding: isinstance(binding.var.ty, relax.TensorType))
    return binding and edit.with_type(binding, on_vdevice(binding.var.ty, None))


def want_an_output_elsewhere(edit: Edit) -> tvm.IRModule | None:
    wishes = [list(wish) for wish in attribute(edit.module, OUTPUTS, [])]
    index = edit.rng.randrange(len(wishes))
    device = edit.other_device(device_of(edit.body.outputs[index]) or CPU)
    if device is None:
        return None
    wishes[index][1] = str(device)
    return edit.module.with_attr(OUTPUTS, wishes)


def lose_an_output(edit: Edit) -> tvm.IRModule | None:
    return replace(edit.body, outputs=edit.body.outputs[1:]).write(edit.module, edit.vdevices)


def run_a_model_on_a_device_of_another_vendor(edit: Edit) -> tvm.IRModule | None:
    return _with_entry(edit, lambda device: Device("gpu" if device.kind != "gpu" else "atlas", device.ordinal))


def run_a_model_on_the_vendors_other_device(edit: Edit) -> tvm.IRModule | None:
    return _with_entry(edit, lambda device: Device(device.kind, 1 - device.ordinal))


def cut_a_link(edit: Edit) -> tvm.IRModule | None:
    copies = [b for b in edit.body.bindings if is_copy(b.value)]
    used = sorted({device for b in copies for device in map(device_of, (b.var, operands(b.value)[0])) if device not in (None, CPU)})
    if not used:
        return None
    cut = edit.rng.choice(used)
    links = [["cpu", str(device)] for device in (*used, Device("openvino")) if device != cut]
    return edit.module.with_attr(TOPOLOGY, links)


def read_before_it_is_made(edit: Edit) -> tvm.IRModule | None:
    made = {b.var: b for b in edit.body.bindings}
    reader = edit.pick(lambda b: any(operand in made for operand in operands(b.value)))
    if reader is None:
        return None
    rest = [b for b in edit.body.bindings if b is not reader]
    return edit.with_bindings([reader, *rest])


def call_two_values_the_same(edit: Edit) -> tvm.IRModule | None:
    if len(edit.body.bindings) < 2:
        return None
    first, second = edit.rng.sample(edit.body.bindings, 2)
    return edit.body.renamed({second.var: relax.Var(first.var.name, second.var.ty)}).write(edit.module, edit.vdevices)


CORRUPTIONS: tuple[Corruption, ...] = (
    drop_a_copy,
    retarget_a_copy,
    retarget_a_copy_and_its_result,
    copy_past_the_cpu,
    copy_to_where_it_is,
    move_a_cast_to_a_device,
    cast_on_a_device,
    drop_a_cast,
    run_an_operator_on_a_device,
    swap_two_arguments,
    drop_an_argument,
    call_an_unknown_model,
    change_a_result_type,
    move_a_result,
    forget_a_device,
    want_an_output_elsewhere,
    lose_an_output,
    run_a_model_on_a_device_of_another_vendor,
    run_a_model_on_the_vendors_other_device,
    cut_a_link,
    read_before_it_is_made,
    call_two_values_the_same,
)


def corrupted(module: tvm.IRModule, seed: int) -> Iterator[tuple[str, tvm.IRModule]]:
    """Yield each corruption that ``module`` allows, with its name."""
    for corruption in CORRUPTIONS:
        result = corruption(Edit(module, random.Random(f"{seed} {corruption.__name__}")))
        if result is not None:
            yield corruption.__name__, result


def _call(binding: Binding, symbol: str, arguments: Sequence[Any]) -> Any:
    fields = binding.var.ty.fields if isinstance(binding.var.ty, tvm.ir.TupleType) else [binding.var.ty]
    return relax.call_dps_packed(symbol, relax.Tuple(list(arguments)), out_ty=list(fields))


def _with_entry(edit: Edit, change: Callable[[Device], Device]) -> tvm.IRModule | None:
    called = [extern_symbol(b.value) for b in edit.body.bindings if is_extern(b.value)]
    if not called:
        return None
    entries = dict(attribute(edit.module, EXTERNS, {}))
    symbol = edit.rng.choice(called)
    entries[symbol] = {**entries[symbol], "device": str(change(Device.parse(entries[symbol]["device"])))}
    return edit.module.with_attr(EXTERNS, entries)
