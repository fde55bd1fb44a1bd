"""Put an offline model in the place of a region of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields
from typing import Any

import onnx
from tvm import relax

from landbridge.frontends.names import NameTable
from landbridge.frontends.offline_call import Place, call_offline, without_device
from landbridge.frontends.onnx.assemble import ALIASES, NATIVE_ONLY, REFUSED, Border
from landbridge.frontends.onnx.from_onnx import import_graph
from landbridge.frontends.onnx.graph import OnnxGraph, check_names, unknown_name
from landbridge.frontends.onnx.prepare import prepare
from landbridge.frontends.onnx.regions import in_order
from landbridge.frontends.region_model import fallback_model
from landbridge.ir.body import Binding, Body, extern_symbol, is_extern, operands
from landbridge.ir.devices import VDevices
from landbridge.ir.dtypes import convertible
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import DERIVED, EXTERNS, TOPOLOGY, ExternModel, ModuleInfo, Program, attribute, extern_device
from landbridge.ir.sizes import dtype_of, render_type
from landbridge.runtime.device import Device
from landbridge.runtime.errors import ModelError, SignatureError, UnsupportedError, UsageError

EDITS = "landbridge.edits"
"""Module attribute: for each region that was replaced the symbol of the offline model, the names of its inputs and of its outputs."""


@one_at_a_time
def replace(
    model: Program,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    by: ExternModel | Sequence[ExternModel],
    device: str | Device | Sequence[str | Device | None] | None = None,
    options: Mapping[str, str] | None = None,
    fallback: str | None = None,
) -> Program:
    """Return the program with an offline model in the place of the region between named values.

    Where an output of the offline model has another floating type than the value it replaces, a conversion back follows it.

    Args:
        model: the program.
        inputs: the user's names of the values that the offline model gets, in the order of its signature.
        outputs: the values that it gives in place of the region, in the order of its signature.
        by: the offline model; or several blobs of one interface, such as one for each chip: a session takes the first that can run
            where it is loaded (`landbridge.runtime.choose`). Vendors, devices and gears of them may differ.
        device: where it runs; the vendor's first device by default. For several blobs one that those of its kind run on, or one each.
        options: of each of the blobs, in addition to its own, such as ``{"gears": "split+pad"}`` (`landbridge.runtime.gears`).
        fallback: a vendor that compiles ONNX, such as "onnxruntime": the region itself, compiled by it, is the last of the blobs.

    Raises:
        ModelError: an unknown name, or a region that is not closed: something else leads into it, or a value inside it is needed
            outside and is not among ``outputs``.
        SignatureError: number, dtypes or shapes are not those of the signature, or blobs have not the same.
        UnsupportedError: there is no such fallback.
        UsageError: ``device`` is not of the vendor's kind, an option has an unknown value, or an argument is of another type.

    Example:
        >>> backbone = lb.ExternModel.from_file("digits/backbone.om")
        >>> edited = lb.replace(model, inputs=["normalised"], outputs=["features"], by=backbone, device="atlas0")
    """
    check_names(inputs, outputs)
    first, where = _with_alternatives(_blobs(by), device, options or {})
    model = reopened(model, inputs, outputs)
    if fallback is not None:
        names = Names.of(model)
        begin, end = ({name: names.find(name) for name in ends} for ends in (inputs, outputs))
        last = fallback_model(model.source, names.info.model, begin, end, first.signature, fallback)
        first = first.with_alternatives([last])
    return _replaced(model, inputs, outputs, first, where)


def _blobs(by: Any) -> list[ExternModel]:
    """Return the blobs that a caller gave.

    Raises:
        UsageError: something else is among them, or there is none.
    """
    given = list(by) if isinstance(by, list | tuple) else [by]
    wrong = next((type(blob).__name__ for blob in given if not isinstance(blob, ExternModel)), None if given else "none")
    if wrong is not None:
        hint = 'lb.ExternModel.from_file("backbone.om"), or from_bytes'
        raise UsageError(f"by: expected an offline model, found {wrong}", hint=hint, code="LB1110")
    return given


def _with_alternatives(
    blobs: Sequence[ExternModel], device: str | Device | Sequence[str | Device | None] | None, options: Mapping[str, str]
) -> tuple[ExternModel, Device]:
    """Return the first blob with the others, and their own alternatives, behind it, and where it runs."""
    given = [device] if device is None or isinstance(device, str | Device) else list(device)
    if len(given) not in (1, len(blobs)):
        raise UsageError(f"device: {len(given)} devices for {len(blobs)} blobs", hint="name one device, or one for each blob")
    given += [None] * (len(blobs) - len(given))
    where = Device(blobs[0].device_kind) if given[0] is None else Device.parse(given[0])
    flat: list[ExternModel] = []
    for blob, place in zip(blobs, given, strict=True):
        flat += [blob if place is None else with_fields(blob, device=str(Device.parse(place))), *blob.alternatives]
    first, *others = [with_fields(one, options={**one.options, **options}, alternatives=()) for one in flat]
    return with_fields(first, device="").with_alternatives(others), where


def reopened(model: Program, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    """Return ``model``, imported again with other fallback regions where the named values are inside of one.

    Regions that were replaced before are replaced again. A program that was edited by hand is returned as it is.
    """
    names = Names.of(model)
    if model.source is None or model.edited or all(name in names.variables for name in (*inputs, *outputs)):
        return model
    graph = prepare(onnx.ModelProto.FromString(model.source), names.info.model)
    if not all(name in graph.producer or name in graph.inputs for name in (*inputs, *outputs)):
        return model
    return _again(model, graph, [(inputs, outputs)], {})


def without_native(model: Program, refused: Mapping[str, str]) -> Program:
    """Return ``model``, imported again with more operators in fallback regions; ``model`` itself where none of them is in its source.

    Args:
        refused: by one of its outputs each operator that shall not be native, with the reason.

    Raises:
        UnsupportedError: they cannot run in a fallback region, or the program was imported without one, or edited by hand since.
    """
    if model.source is None:
        return model
    if model.edited:
        told = "; ".join(f"'{name}': {reason}" for name, reason in refused.items())
        hint = "edit the program less, or have an offline model for the part (lb.replace)"
        message = f"it was edited after it was imported, so nothing of it can go to a fallback: {told}"
        raise UnsupportedError(message, at=ModuleInfo.of(model.module).model, hint=hint, code="LB2301")
    graph = prepare(onnx.ModelProto.FromString(model.source), ModuleInfo.of(model.module).model)
    before = attribute(model.module, REFUSED, {})
    more = {name: reason for name, reason in refused.items() if name in graph.producer and name not in before}
    return _again(model, graph, [], more) if more else model


def _again(model: Program, graph: OnnxGraph, borders: Sequence[Border], refused: Mapping[str, str]) -> Program:
    """Return the program of a graph with the regions of ``model`` replaced again and its operators kept from native code."""
    attributes = ModuleInfo.of(model.module).attributes
    edits = attributes.get(EDITS, [])
    program = import_graph(
        graph,
        fallback=not attributes.get(NATIVE_ONLY, False),
        borders=[*((given, results) for _, given, results in edits), *borders],
        refused={**attributes.get(REFUSED, {}), **refused},
    )
    for symbol, given, results in edits:
        program = _replaced(program, given, results, model.externs[symbol], extern_device(model.module, symbol))
    kept = {TOPOLOGY: attributes[TOPOLOGY]} if TOPOLOGY in attributes else {}
    return program.annotated(kept) if kept else program


def _replaced(model: Program, inputs: Sequence[str], outputs: Sequence[str], by: ExternModel, where: Device) -> Program:
    """Return the program with ``by`` in the place of the region."""
    names = Names.of(model)
    arguments = [names.find(name) for name in inputs]
    results = [names.find(name) for name in outputs]
    body = names.body
    live = _remaining(body, arguments, results, names)
    bindings, symbol, entry = _call(model, names, by, where, arguments, results)
    pieces = [[binding] for binding in live] + [bindings]
    position = {binding.var: number for number, binding in enumerate(body.bindings)}
    rank = [position[binding.var] for binding in live] + [min(position[result] for result in results)]
    reads = [[str(part.name) for b in piece for part in operands(b.value) if isinstance(part, relax.Var)] for piece in pieces]
    made = [[str(binding.var.name) for binding in piece] for piece in pieces]
    flat = tuple(binding for number in in_order(reads, made, rank) for binding in pieces[number])
    plain = {result: relax.Var(result.name, without_device(result.ty)) for result in results}
    edited = Body(body.params, flat, body.outputs).renamed(plain)
    called = {extern_symbol(binding.value) for binding in flat if is_extern(binding.value)}
    entries = {**attribute(model.module, EXTERNS, {}), symbol: entry}
    edits = [*attribute(model.module, EDITS, []), [symbol, list(inputs), list(outputs)]]
    attributes = {EXTERNS: {s: e for s, e in entries.items() if s in called}, EDITS: [edit for edit in edits if edit[0] in called]}
    module = edited.write(model.module, VDevices(model.module)).with_attrs(attributes)
    externs = {s: found for s, found in {**model.externs, symbol: by}.items() if s in called}
    fallbacks = {s: found for s, found in model.fallbacks.items() if s in called}
    return with_fields(model, module=module, externs=externs, fallbacks=fallbacks, made=model.made if model.edited else module)


@dataclass(frozen=True)
class Names:
    """The values of a program by the user's names, and its body, which takes long to read."""

    program: Program
    info: ModuleInfo
    body: Body
    variables: dict[str, Any]

    @staticmethod
    def of(program: Program) -> Names:
        """Return the names of ``program``'s values."""
        info, body = ModuleInfo.of(program.module), Body.of(program.module)
        own = [var for var in (*body.params, *(binding.var for binding in body.bindings)) if DERIVED not in var.name]
        by_identifier = {str(var.name): var for var in own}
        further = {name: by_identifier[found] for name, found in info.attributes.get(ALIASES, {}).items() if found in by_identifier}
        tensors = {info.user_name(var): var for var in own if isinstance(var.ty, relax.TensorType)}
        return Names(program, info, body, {**further, **tensors})

    def find(self, name: str) -> Any:
        """Return the variable of the value that the user calls ``name``.

        Raises:
            ModelError: there is none.
        """
        if name not in self.variables:
            if self.program.source is not None and name in OnnxGraph(onnx.ModelProto.FromString(self.program.source), "").producer:
                message = (
                    f"the value '{name}' of the model is none of the program: it is a constant, a shape, or in a region that runs elsewhere"
                )
                raise ModelError(message, at=self.info.model, hint="name a value before or after it", code="LB2006")
            raise unknown_name(name, "value", self.variables, self.info.model or "model")
        return self.variables[name]

    def at(self, variable: Any) -> str:
        """Return what messages call the place of a value."""
        name = self.info.user_name(variable)
        return f"{self.info.model}:{name}" if self.info.model else name


def _remaining(body: Body, arguments: Sequence[Any], results: Sequence[Any], names: Names) -> list[Binding]:
    """Return the bindings that are needed beside the offline model, in order.

    Raises:
        ModelError: the region is not closed.
    """
    by_var = {binding.var: binding for binding in body.bindings}
    region = _region(by_var, arguments, results, names)
    for argument in arguments:
        _check_order(by_var, argument, results, names)
    fixed = _independent(by_var, region)
    needed: set[Any] = set()
    waiting = [*body.outputs, *arguments]
    while waiting:
        value = waiting.pop()
        if value in needed or value in results or value not in by_var:
            continue
        if value in region and value not in fixed:
            raise ModelError(
                "this value is inside the region and is needed outside of it",
                at=names.at(value),
                hint="add it to the outputs, or end the region before it",
                code="LB2006",
            )
        needed.add(value)
        waiting.extend(operands(by_var[value].value))
    return [binding for binding in body.bindings if binding.var in needed]


def _region(by_var: dict[Any, Binding], arguments: Sequence[Any], results: Sequence[Any], names: Names) -> set[Any]:
    """Return the variables that are computed on the way from ``arguments`` to ``results``."""
    region: set[Any] = set()
    waiting = list(results)
    for result in results:
        if result in arguments or result not in by_var:
            raise ModelError("there is no operator between the inputs and this output", at=names.at(result), code="LB2006")
    while waiting:
        value = waiting.pop()
        if value in arguments or value in region or not isinstance(value, relax.Var):
            continue
        if value not in by_var:
            name = names.info.user_name(value)
            raise ModelError(
                f"the outputs also depend on the model's input '{name}'",
                at=names.info.model,
                hint=f"add '{name}' to the inputs, or a value after it",
                code="LB2006",
            )
        region.add(value)
        waiting.extend(operands(by_var[value].value))
    return region


def _check_order(by_var: dict[Any, Binding], argument: Any, results: Sequence[Any], names: Names) -> None:
    seen: set[Any] = set()
    waiting = [argument]
    while waiting:
        value = waiting.pop()
        if value in seen or value not in by_var:
            continue
        if value in results:
            raise ModelError(
                f"this input is computed from the output '{names.info.user_name(value)}'", at=names.at(argument), code="LB2006"
            )
        seen.add(value)
        waiting.extend(operands(by_var[value].value))


def _independent(by_var: dict[Any, Binding], region: set[Any]) -> set[Any]:
    """Return the variables of a region that depend on no input of the program: they may be computed outside of it as well."""
    found: set[Any] = set()
    for var, binding in by_var.items():
        parts = [part for part in operands(binding.value) if isinstance(part, relax.Var)]
        if var in region and all(part in found for part in parts):
            found.add(var)
    return found


def _call(
    model: Program, names: Names, by: ExternModel, device: Device, arguments: Sequence[Any], results: Sequence[Any]
) -> tuple[list[Binding], str, dict[str, Any]]:
    """Return the bindings that give ``results``, the symbol that they call, and its entry in the table of offline models."""
    table = NameTable()
    for taken in (
        *(str(binding.var.name) for binding in names.body.bindings),
        *(str(param.name) for param in names.body.params),
    ):
        table.identifier(taken)
    for taken in (*model.externs, *(str(var.name_hint) for var in model.module.functions)):
        table.identifier(taken)
    symbol = table.identifier(by.name.rsplit(".", 1)[0])
    place = Place(names.info.model, names.info.names, names.info.user_name(results[0]))
    call = call_offline(by, device, symbol, arguments, [result.ty for result in results], place, names.body.bindings)
    renamed: dict[Any, Any] = {}
    casts = []
    for result, output in zip(results, call.outputs, strict=True):
        given, wanted = dtype_of(output.ty), dtype_of(result.ty)
        if given == wanted:
            renamed[output] = result
            continue
        if not convertible(given, wanted):
            message = f"{by.name} gives {render_type(output.ty)} for a value that is {render_type(result.ty)}"
            raise SignatureError(message, at=names.at(result), hint=f"end the region at a value of the type {given}", code="LB2108")
        renamed[output] = relax.Var(f"{result.name}{DERIVED}{given}", output.ty)
        casts.append(Binding(result, relax.op.astype(renamed[output], wanted)))
    return [*Body((), call.bindings, ()).renamed(renamed).bindings, *casts], symbol, call.entry
