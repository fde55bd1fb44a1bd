"""Whether calls of offline models match the models' signatures (R6).

The one place of this check: the ``check-signatures`` pass makes the user's error of it, the verifier a diagnostic. It compares
types only; where values live is the verifier's other rules' affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_extern, operands
from landbridge.ir.dtypes import convertible
from landbridge.ir.fixes import cast_fix, transpose_fix
from landbridge.ir.images import permuted, raw_image
from landbridge.ir.location import place, value_name
from landbridge.ir.program import ExternEntry, ModuleInfo
from landbridge.ir.sizes import OPAQUE, dtype_of, equal_shapes, equal_sizes, render_type, shape_of
from landbridge.runtime.dims import Size, render, render_shape
from landbridge.runtime.dtypes import BITS
from landbridge.runtime.errors import InputError
from landbridge.runtime.gears import gear_names, plan_gears, size_advice, size_text, spread_of
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.signature import Port

Aspect = Literal["symbol", "arity", "dtype", "shape", "gears", "image", "output"]


@dataclass(frozen=True)
class Mismatch:
    """One way in which a call does not match its offline model's signature.

    Attributes:
        at: where: the user's model and the user's name of the call's result.
        model: the user's name of the offline model.
        value: the user's name of the value at fault, "" where it is not about one value.
        port: which port it is about, such as "input 0 'data'", or "".
        aspect: what does not match.
        expected: what the signature has there.
        found: what the call has there.
        fix: the line to write or the thing to do.
    """

    at: str
    model: str
    value: str
    port: str
    aspect: Aspect
    expected: str
    found: str
    fix: str

    @property
    def message(self) -> str:
        """What was found and what was expected, in one line."""
        where = f"{self.model}, {self.port}" if self.port else self.model
        value = f"value '{self.value}' is {self.found}" if self.value else f"found {self.found}"
        return f"{where}: {value}, expected {self.expected}"


def mismatches(module: tvm.IRModule, *, converting: bool = False) -> Iterator[Mismatch]:
    """Yield every mismatch of every call in ``module``, in the order of the program.

    Args:
        converting: an element type or a layout that the compiler will convert by itself (`landbridge.ir.dtypes.convertible`,
            `landbridge.ir.images.permuted`) is none.
    """
    info, body = ModuleInfo.of(module), Body.of(module)
    producers = {binding.var: binding for binding in body.bindings}
    for binding in body.bindings:
        if is_extern(binding.value):
            yield from call_mismatches(info, binding, producers, converting=converting)


def call_mismatches(
    info: ModuleInfo, binding: Binding, producers: Mapping[Any, Binding], *, converting: bool = False
) -> Iterator[Mismatch]:
    """Yield every mismatch of the call in ``binding``.

    Args:
        info: what the module's attributes say.
        producers: the binding of each value that is no input of the program.
        converting: as in `mismatches`.
    """
    symbol = extern_symbol(binding.value)
    at = place(info, info.user_name(binding.var))
    entry = info.externs.get(symbol)
    if entry is None:
        known = ", ".join(info.externs) or "none"
        yield Mismatch(at, symbol, "", "", "symbol", f"one of: {known}", "a call of it", "add it to the program's offline models")
        return
    arguments = operands(binding.value)
    signature = entry.signature
    if len(arguments) != len(signature.inputs):
        expected = f"{len(signature.inputs)}: {_list_ports(signature.inputs)}"
        names = ", ".join(f"'{value_name(info, argument)}'" for argument in arguments)
        yield Mismatch(
            at, entry.name, "", "inputs", "arity", expected, f"{len(arguments)}: {names}", "pass one value for each input, in this order"
        )
        return
    check = _Call(info, at, entry, producers, converting)
    for index, (port, argument) in enumerate(zip(signature.inputs, arguments, strict=True)):
        yield from check.input(index, port, argument)
    yield from check.gears(arguments)
    yield from check.outputs(binding)


class _Call:
    """The check of one call; ``extents`` fills with what the named dimensions of the signature are in it."""

    def __init__(self, info: ModuleInfo, at: str, entry: ExternEntry, producers: Mapping[Any, Binding], converting: bool) -> None:
        self.info, self.at, self.entry, self.producers, self.converting = info, at, entry, producers, converting
        self.extents: dict[str, Size] = {}

    def input(self, index: int, port: Port, argument: Any) -> Iterator[Mismatch]:
        """Yield what does not match in one argument."""
        name, port_name = value_name(self.info, argument), f"input {index} '{port.name}'"
        dtype, shape = dtype_of(argument.ty), shape_of(argument.ty)
        if shape is None and self.entry.device.is_cpu and argument.ty.ndim in (-1, len(port.shape)):
            shape = port.shape  # its extents are known when it runs, and checked then
        shape = (permuted(port, shape, self.extents) or shape) if self.converting else shape
        both_numbers = dtype in BITS and port.dtype in BITS
        dtype_fits = _fits(dtype, port.dtype) or (self.converting and both_numbers and convertible(dtype, port.dtype))
        shape_fits = shape is not None and self._bind(port.shape, shape)
        if dtype_fits and shape_fits:
            return
        found, expected = render_type(argument.ty), f"{port.dtype} {render_shape(self._substituted(port.shape))}"
        if port.aipp is not None:
            expected += f", the {port.layout} image in {port.aipp.source_format} (the model does its own image preprocessing, AIPP)"
            fix = self._image_fix(port, argument)
            yield Mismatch(self.at, self.entry.name, name, port_name, "image", expected, found, fix)
        elif not shape_fits:
            fix = _shape_fix(name, shape, self._substituted(port.shape))
            yield Mismatch(self.at, self.entry.name, name, port_name, "shape", expected, found, fix)
        else:
            yield Mismatch(self.at, self.entry.name, name, port_name, "dtype", expected, found, cast_fix(name, port.dtype))

    def _image_fix(self, port: Port, argument: Any) -> str:
        """Return what to give in place of a value that is no raw image, by name where the program has it."""
        image = raw_image(self.producers, argument, port)
        if image is None:
            return "feed the raw image and leave out the preprocessing that the program does before this call"
        name, found = value_name(self.info, image), render_type(image.ty)
        return f"begin the region at '{name}', {found}: the model does what the program does between that and this call"

    def gears(self, arguments: Sequence[Any]) -> Iterator[Mismatch]:
        """Yield a size that is known and that no gear of the model has."""
        gears = self.entry.signature.gears
        inputs = self.entry.signature.inputs
        if gears is None:
            return
        axes = [(i, dim) for i, port in enumerate(inputs) for dim in port.shape if isinstance(dim, str)]
        if not axes or any(dim not in self.extents for _, dim in axes):
            return  # a shape that does not fit was reported
        index, batch_name = axes[0]
        name, port_name = value_name(self.info, arguments[index]), f"input {index} '{inputs[index].name}'"
        found = render_type(arguments[index].ty)
        if gears.kind == "batch":
            batch, spread = self.extents[batch_name], spread_of(self.entry.options)
            if isinstance(batch, int):
                try:
                    plan_gears(batch, gears.batches, spread)
                except InputError as error:
                    what = "no larger than its largest gear" if spread == "pad" else "that is a sum of its gears"
                    expected = f"a batch {what} {', '.join(map(str, gears.batches))}"
                    yield Mismatch(self.at, self.entry.name, name, port_name, "gears", expected, found, error.hint)
            return
        named = gear_names(self.entry.signature)
        sizes = tuple(self.extents[dim] for dim in named)
        if all(isinstance(size, int) for size in sizes) and sizes not in gears.choices:
            choices = ", ".join(map(size_text, gears.choices))
            expected = f"{render_shape(inputs[index].shape)} with one of its sizes {choices} for {', '.join(named)}"
            yield Mismatch(self.at, self.entry.name, name, port_name, "gears", expected, found, size_advice(gears, sizes))

    def outputs(self, binding: Binding) -> Iterator[Mismatch]:
        """Yield results whose declared types are not the signature's."""
        ports, types = self.entry.signature.outputs, _result_types(binding)
        if len(types) != len(ports):
            fix = "declare one result for each output, in this order"
            yield self._output("outputs", f"{len(ports)}: {_list_ports(ports)}", str(len(types)), fix)
            return
        for index, (port, result) in enumerate(zip(ports, types, strict=True)):
            shape = shape_of(result)
            fits = result.ndim in (-1, len(port.shape)) if shape is None else self._bind(port.shape, shape)
            if not fits or not _fits(dtype_of(result), port.dtype):
                expected = f"{port.dtype} {render_shape(self._substituted(port.shape))}"
                yield self._output(f"output {index} '{port.name}'", expected, render_type(result), "declare it as the model gives it")

    def _output(self, port: str, expected: str, found: str, fix: str) -> Mismatch:
        return Mismatch(self.at, self.entry.name, "", port, "output", expected, found, fix)

    def _bind(self, dims: Sequence[Size], shape: Sequence[Size]) -> bool:
        """Return whether ``shape`` fits ``dims``; a named dimension met for the first time is what ``shape`` has there."""
        if len(dims) != len(shape):
            return False
        fits = True
        for dim, extent in zip(dims, shape, strict=True):
            expected = self.extents.setdefault(dim, extent) if isinstance(dim, str) else dim
            fits = fits and equal_sizes(expected, extent)
        return fits

    def _substituted(self, dims: Sequence[Size]) -> tuple[Size, ...]:
        return tuple(self.extents.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)


def _fits(dtype: str, expected: str) -> bool:
    """Return whether an element type is the expected one; of opaque values Relax knows no more than that they are."""
    return dtype == expected or (dtype == OPAQUE and is_opaque(expected))


def _result_types(binding: Binding) -> tuple[Any, ...]:
    """Return the types of a call's results; those of the variable, which must be the declared ones."""
    types = binding.var.ty.fields if isinstance(binding.var.ty, tvm.ir.TupleType) else [binding.var.ty]
    return tuple(t for t in types if isinstance(t, relax.TensorType))


def _list_ports(ports: Sequence[Port]) -> str:
    return ", ".join(f"'{port.name}' {port.dtype} {render_shape(port.shape)}" for port in ports)


def _shape_fix(name: str, shape: Sequence[Size] | None, expected: Sequence[Size]) -> str:
    if shape is not None and len(shape) == len(expected) == 4:
        for order in ((0, 2, 3, 1), (0, 3, 1, 2)):
            if equal_shapes([shape[axis] for axis in order], expected):
                return transpose_fix(name, order)
    return f"reshape or resize '{name}' to [{', '.join(render(extent) for extent in expected)}] before the call"
