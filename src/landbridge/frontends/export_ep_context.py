"""Write a program's offline models into its ONNX model, as EPContext nodes with the blobs in them.

What such a node cannot say is refused, so that `landbridge.from_onnx` makes the same program of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx

from landbridge.frontends.ep_context import SOURCES
from landbridge.frontends.onnx.graph import ELEMENT_TYPES, captured_by
from landbridge.frontends.onnx.regions import in_order
from landbridge.frontends.replace import EDITS, Names
from landbridge.ir.program import ExternEntry, ExternModel, Program, attribute
from landbridge.ir.sizes import dtype_of
from landbridge.runtime.device import Device
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors import registry

_DOMAIN = "com.microsoft"


def export_ep_context(program: Program) -> Any:
    """Return the ONNX model of a program, with a node ``com.microsoft::EPContext`` in the place of each region that was replaced.

    The blobs are in the nodes. Where a blob's element type is another one than the model's, a ``Cast`` stands before or behind the node.

    Args:
        program: from `landbridge.from_onnx`, edited by `landbridge.replace` or `landbridge.offload`.

    Returns:
        A `ModelProto`, of which `landbridge.from_onnx` makes a program that gives the same results.

    Raises:
        UnsupportedError: the program is not from ONNX, or an offline model is one that a node cannot describe; all of them are named.

    Example:
        >>> backbone = lb.ExternModel.from_file("digits/backbone.om")
        >>> edited = lb.replace(model, inputs=["normalised"], outputs=["features"], by=backbone)
        >>> exported = lb.export_ep_context(edited)
        >>> [node.name for node in exported.graph.node if node.op_type == "EPContext"]
        ['backbone.om']
    """
    names = Names.of(program)
    if program.source is None:
        raise UnsupportedError(
            "the program is not from an ONNX model", at=names.info.model, hint="make it by lb.from_onnx(…)", code="LB2308"
        )
    edits = attribute(program.module, EDITS, [])
    problems = [f"{entry.name}: {text}" for entry in _entries(names, edits) for text in _problems(entry, program.externs[entry.symbol])]
    if problems:
        raise UnsupportedError(f"no EPContext node can describe this: {'; '.join(problems)}", at=names.info.model, code="LB2308")
    model = onnx.ModelProto.FromString(program.source)
    table = _Table(model.graph)
    added: list[Any] = []
    for entry, (_, inputs, outputs) in zip(_entries(names, edits), edits, strict=True):
        added += _nodes(names, entry, program.externs[entry.symbol], inputs, outputs, table)
    _put(model.graph, added, {name for _, _, outputs in edits for name in outputs}, table)
    if added and all(entry.domain != _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return model


def _entries(names: Names, edits: Sequence[Any]) -> list[ExternEntry]:
    return [names.info.externs[symbol] for symbol, _, _ in edits]


def _problems(entry: ExternEntry, model: ExternModel) -> Iterator[str]:
    """Yield what of an offline model would be lost."""
    if entry.vendor not in SOURCES.values():
        yield f"no execution provider is known for blobs of {entry.vendor}"
        return
    if entry.device != Device(entry.device.kind):
        yield f"it runs on {entry.device}, a node does not say on which device"
    if entry.alternatives:
        yield f"it has {len(entry.alternatives)} further blobs, a node has one"
    if entry.options:
        yield f"it has the options {', '.join(f'{key}={value}' for key, value in entry.options.items())}"
    told = registry.vendor(entry.vendor).read_signature(model.data, {})
    if (told.inputs, told.outputs, told.gears) != (entry.signature.inputs, entry.signature.outputs, entry.signature.gears):
        yield "its signature is another one than its blob tells"


class _Table:
    """The names of a graph's values and nodes; new ones are none of them."""

    def __init__(self, graph: Any) -> None:
        self._taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        for node in graph.node:
            self._taken.update((node.name, *node.input, *node.output, *captured_by(node)))

    def unique(self, wanted: str) -> str:
        """Return ``wanted``, or that with a number behind it."""
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def _nodes(
    names: Names, entry: ExternEntry, model: ExternModel, inputs: Sequence[str], outputs: Sequence[str], table: _Table
) -> Iterator[Any]:
    """Yield the node of an offline model, between the casts that its element types need."""
    given, results, after = [], [], []
    for name, port in zip(inputs, entry.signature.inputs, strict=True):
        given.append(name if _same(names, name, port) else table.unique(f"{name}_{port.dtype}"))
        if given[-1] != name:
            yield _cast(name, given[-1], port.dtype, table)
    for name, port in zip(outputs, entry.signature.outputs, strict=True):
        results.append(name if _same(names, name, port) else table.unique(f"{name}_{port.dtype}"))
        if results[-1] != name:
            after.append(_cast(results[-1], name, dtype_of(names.find(name).ty), table))
    title = table.unique(entry.name)
    facts = {"sdk": "ep_sdk_version", "soc": "hardware_architecture"}
    versions = {facts[key]: text for key, text in entry.signature.versions.items() if key in facts}
    source = next(source for source, vendor in SOURCES.items() if vendor == entry.vendor and source.endswith("ExecutionProvider"))
    yield onnx.helper.make_node(
        "EPContext",
        given,
        results,
        name=title,
        domain=_DOMAIN,
        main_context=1,
        embed_mode=1,
        ep_cache_context=model.data,
        partition_name=title,
        source=source,
        **versions,
    )
    yield from after


def _same(names: Names, name: str, port: Port) -> bool:
    return dtype_of(names.find(name).ty) == port.dtype


def _cast(source: str, result: str, dtype: str, table: _Table) -> Any:
    return onnx.helper.make_node("Cast", [source], [result], name=table.unique(f"{result}_cast"), to=ELEMENT_TYPES[dtype])


def _put(graph: Any, added: Sequence[Any], replaced: set[str], table: _Table) -> None:
    """Put nodes into a graph, in order, in the place of those that nothing needs any more."""
    for node in graph.node:
        for position, name in enumerate(node.output):
            if name in replaced:
                node.output[position] = table.unique(f"{name}_before")
    nodes = [*graph.node, *added]
    producer = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    reads = [list(dict.fromkeys(name for name in (*node.input, *captured_by(node)) if name)) for node in nodes]
    needed: set[int] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        number = producer.get(waiting.pop())
        if number is not None and number not in needed:
            needed.add(number)
            waiting.extend(reads[number])
    kept = [number for number in range(len(nodes)) if number in needed]
    order = in_order([reads[number] for number in kept], [[name for name in nodes[number].output if name] for number in kept], kept)
    final = [nodes[kept[position]] for position in order]
    live = {name for number in kept for name in (*reads[number], *nodes[number].output)} | {value.name for value in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in live]
    values = [value for value in graph.value_info if value.name in live]
    for field, items in ((graph.node, final), (graph.initializer, tensors), (graph.value_info, values)):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
