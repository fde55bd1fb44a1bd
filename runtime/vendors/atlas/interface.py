"""What an Ascend offline model expects and gives: from a container to a `Signature`.

Newer files list their interface (`inout`); where that is missing it is derived from the graph, as the vendor's own runtime
does. Where both tell of the same thing, the list counts. Models of unknown shape without gears, and models with dynamic AIPP,
are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, HEIGHT, WIDTH, Aipp, Dim, Gears, Port, Signature
from landbridge.runtime.vendors.atlas.format import (
    AIPP_FORMATS,
    AIPP_INPUT,
    GEAR_INPUT,
    GEAR_TYPES,
    INPUT_TYPES,
    ITEM_NBYTES,
    OUTPUT_TYPE,
    Partition,
)
from landbridge.runtime.vendors.atlas.graph import Graph, Operator, read_graph
from landbridge.runtime.vendors.atlas.inout import InOut, Tensor, read_inout
from landbridge.runtime.vendors.atlas.om import Container

MAX_ELEMENTS = 1 << 48
"""More elements than any device holds: such a shape is damage."""

_DAMAGED = "the file is damaged"
_HALVED = ("YUV420SP_U8", "YUV422SP_U8")
"""The formats of an image whose colours are in rows below it."""

_DYNAMIC_TYPES = {1: "batch", 2: "image", 3: "dims"}
_PLATFORMS = {1: "Ascend310"}
_Choices = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Interface:
    """All that the file says of its inputs and outputs, hidden inputs included.

    Attributes:
        inputs: with -1 where a gear decides.
        outputs: of the largest gear.
        gears: None for a model of one size.
        order: the names of inputs in the order in which "dims" gears name their dimensions; empty for that of `inputs`.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gears: Gears | None
    order: tuple[str, ...]


def read_interface(container: Container, graph: Graph) -> Interface:
    """Return the interface that the file describes.

    Raises:
        SignatureError: it is damaged or contradicts itself.
    """
    listed = container.partition(Partition.MODEL_INOUT_INFO)
    info = read_inout(listed) if listed is not None else _inout_of_graph(graph)
    gears = None
    if info.gears is not None:
        kind, choices = info.gears
        _check_choices(kind, choices)
        gears = Gears(kind, choices, _output_shapes(info, len(choices)))
    return Interface(info.inputs, info.outputs, gears, info.order)


def read_signature(container: Container) -> Signature:
    """Return the signature of the model in ``container``.

    Raises:
        SignatureError: damaged, or a kind of model that cannot be called from here.
    """
    graph = read_graph(container)
    interface = read_interface(container, graph)
    users = [tensor for tensor in interface.inputs if tensor.name not in (GEAR_INPUT, AIPP_INPUT)]
    if len(users) == len(interface.inputs) and interface.gears is not None:
        raise SignatureError(f"the model has gears but no input '{GEAR_INPUT}'", hint=_DAMAGED, code="LB2103")
    aipps = _aipps(graph, interface)
    names = _dynamic_names(users, interface)
    inputs = tuple(_input_port(tensor, names[tensor.name], aipps.get(tensor.name)) for tensor in users)
    outputs = tuple(_output_port(index, tensor, interface, names) for index, tensor in enumerate(interface.outputs))
    if not outputs:
        raise SignatureError("the model has no outputs", hint=_DAMAGED, code="LB2103")
    attributes, gears = graph.attributes, interface.gears
    if gears is not None and gears.kind == "batch":
        gears = replace(gears, output_shapes=())  # the outputs' own dimensions say as much
    facts = ["inputs", "outputs", "gears", "workspace_nbytes", "weight_nbytes", "versions"]
    return Signature(
        inputs=inputs,
        outputs=outputs,
        gears=gears,
        workspace_nbytes=max(attributes.integer("memory_size"), 0),
        weight_nbytes=max(attributes.integer("weight_size", len(container.partition(Partition.WEIGHTS_DATA) or b"")), 0),
        versions=read_versions(container, graph),
        origin=dict.fromkeys(facts, "file"),
    )


def _inout_of_graph(graph: Graph) -> InOut:
    inputs: dict[int, Tensor] = {}
    for position, operator in enumerate(graph.of_type(*INPUT_TYPES)):
        inputs[operator.attributes.integer("index", position)] = _input_of_graph(operator)
    results = graph.of_type(OUTPUT_TYPE)
    if len(results) != 1:
        raise SignatureError(
            f"the graph has {len(results)} operators {OUTPUT_TYPE}, expected one", at="MODEL_DEF", hint=_DAMAGED, code="LB2103"
        )
    return InOut(
        inputs=tuple(inputs[index] for index in sorted(inputs)),
        outputs=_outputs_of_graph(graph, results[0]),
        gears=_gears_of_graph(graph),
        output_shapes=tuple(results[0].attributes.texts("_dynamic_output_dims")),
        order=next((tuple(op.attributes.texts("user_designate_shape_order")) for op in graph.of_type(*GEAR_TYPES)), ()),
    )


def _input_of_graph(operator: Operator) -> Tensor:
    attributes = operator.attributes
    if not operator.inputs:
        raise SignatureError(f"input '{operator.name}' has no descriptor", at="MODEL_DEF", hint=_DAMAGED, code="LB2103")
    descriptor = operator.inputs[0]
    dims = attributes.integers("_dynamic_aipp_input_dims") or attributes.integers("_mbatch_origin_input_dims") or descriptor.shape
    source_dims = attributes.integers("input_dims") or dims
    return Tensor(operator.name, descriptor.dtype, descriptor.layout or "ND", tuple(dims), tuple(source_dims))


def _outputs_of_graph(graph: Graph, result: Operator) -> tuple[Tensor, ...]:
    names, sources = graph.attributes.texts("attr_model_out_nodes_name"), result.sources
    if len(sources) != len(result.inputs):
        raise SignatureError(f"{len(result.inputs)} outputs from {len(sources)} operators", at="MODEL_DEF", hint=_DAMAGED, code="LB2103")
    tensors = []
    for index, (descriptor, (source, output)) in enumerate(zip(result.inputs, sources, strict=True)):
        name = f"output_{index}_{source}_{output}"
        if len(names) == len(result.inputs):
            name = names[index] if ":" in names[index] else f"{names[index]}:{output}"
        tensors.append(Tensor(name, descriptor.dtype, descriptor.layout or "ND", descriptor.shape, ()))
    return tuple(tensors)


def _gears_of_graph(graph: Graph) -> tuple[str, _Choices] | None:
    selector = next((operator for operator in graph.of_type(*GEAR_TYPES) if operator.attributes.has("_batch_num")), None)
    if selector is None:
        return None
    count = selector.attributes.integer("_batch_num")
    choices: list[tuple[int, ...]] = []
    while selector.attributes.has(f"_pred_value_{len(choices)}"):
        choices.append(tuple(selector.attributes.integers(f"_pred_value_{len(choices)}")))
    if len(choices) != count or not choices:
        raise SignatureError(f"'{selector.name}' has {len(choices)} gears, expected {count}", at="MODEL_DEF", hint=_DAMAGED, code="LB2103")
    by_length = {1: "batch", 2: "image"}.get(len(choices[0]), "dims")
    return _DYNAMIC_TYPES.get(selector.attributes.integer("mbatch_dynamic_type"), by_length), tuple(choices)


def _check_choices(kind: str, choices: _Choices) -> None:
    lengths = {len(choice) for choice in choices}
    expected = {"batch": 1, "image": 2}.get(kind, max(lengths, default=0))
    if lengths != {expected} or expected == 0 or any(not 0 < value < MAX_ELEMENTS for choice in choices for value in choice):
        raise SignatureError(f"gears {[list(choice) for choice in choices]} for a dynamic {kind}", hint=_DAMAGED, code="LB2103")


def _output_shapes(info: InOut, gears: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return for each gear the shapes of all outputs, read from rows of ``gear,output,dims…``."""
    if not info.output_shapes:
        return ()
    table: dict[tuple[int, int], tuple[int, ...]] = {}
    for row in info.output_shapes:
        numbers = [int(part) if part.isascii() and part.isdigit() and len(part) < 16 else -1 for part in row.split(",")]
        if len(numbers) < 2 or min(numbers) < 0:
            raise SignatureError(f"output shape '{row}', expected numbers 'gear,output,dimensions'", hint=_DAMAGED, code="LB2103")
        table[numbers[0], numbers[1]] = tuple(numbers[2:])
    outputs = len(info.outputs)
    complete = all((gear, output) in table for gear in range(gears) for output in range(outputs))
    if not complete or len(table) != gears * outputs:
        raise SignatureError(f"{len(table)} output shapes for {gears} gears and {outputs} outputs", hint=_DAMAGED, code="LB2103")
    return tuple(tuple(table[gear, output] for output in range(outputs)) for gear in range(gears))


def _aipps(graph: Graph, interface: Interface) -> dict[str, Aipp]:
    """Return the preprocessing of each input that has any."""
    if any(tensor.name == AIPP_INPUT for tensor in interface.inputs):
        _refuse_dynamic_aipp(f"the hidden input '{AIPP_INPUT}'")
    aipps = {}
    for operator in graph.of_type(*INPUT_TYPES):
        if operator.attributes.text("_data_related_aipp_mode").startswith("dynamic"):
            _refuse_dynamic_aipp(f"input '{operator.name}'")
        settings = operator.attributes.function("aipp")
        if settings is None:
            continue
        code = settings.integer("input_format")
        if code not in AIPP_FORMATS:
            raise SignatureError(f"AIPP format {code} is unknown", at=f"input '{operator.name}'", hint=_DAMAGED, code="LB2111")
        if AIPP_FORMATS[code] in _HALVED and interface.gears is not None and interface.gears.kind == "image":
            hint = "compile with fixed sizes, or for another source format"
            text = f"image sizes are gears, and a {AIPP_FORMATS[code]} image has other rows than its height"
            raise SignatureError(text, at=f"input '{operator.name}'", hint=hint, code="LB2103")
        height, width = settings.integer("src_image_size_h"), settings.integer("src_image_size_w")
        aipps[operator.name] = Aipp("static", AIPP_FORMATS[code], max(height, 0), max(width, 0))
    return aipps


def _refuse_dynamic_aipp(what: str) -> None:
    hint = "compile with static AIPP (aipp_mode: static) or without AIPP"
    raise SignatureError(f"{what} has dynamic AIPP, which is set call by call and cannot be used here", hint=hint, code="LB2111")


def _dynamic_names(users: Sequence[Tensor], interface: Interface) -> dict[str, list[str]]:
    """Return for each input the names of its dynamic dimensions in order, checked against the gears."""
    gears = interface.gears
    names: dict[str, list[str]] = {}
    position = {name: index for index, name in enumerate(interface.order)}
    count = 0
    for tensor in sorted(users, key=lambda tensor: position.get(tensor.name, -1)):
        dynamic = [axis for axis, dim in enumerate(tensor.source_dims or tensor.dims) if dim == -1]
        if gears is None:
            if dynamic:
                hint = "compile the model with fixed shapes (--input_shape) or with gears (--dynamic_batch_size)"
                raise SignatureError(f"input '{tensor.name}' varies in size, and the model has no gears", hint=hint, code="LB2103")
            names[tensor.name] = []
            continue
        if gears.kind == "batch" and dynamic not in ([], [0]):
            raise SignatureError(
                f"input '{tensor.name}' varies along axes {dynamic}, but the gears are batches", hint=_DAMAGED, code="LB2103"
            )
        fixed = {"batch": [BATCH], "image": [HEIGHT, WIDTH]}.get(gears.kind)
        names[tensor.name] = fixed[: len(dynamic)] if fixed else [f"dim{count + index}" for index in range(len(dynamic))]
        count += len(dynamic)
        if fixed and len(dynamic) not in (0, len(fixed)):
            raise SignatureError(
                f"input '{tensor.name}' varies along axes {dynamic}, expected {len(fixed)} of them", hint=_DAMAGED, code="LB2103"
            )
    if gears is not None and (count == 0 or (gears.kind == "dims" and count != len(gears.choices[0]))):
        raise SignatureError(f"{count} dimensions vary, but gears are {len(gears.choices[0])} numbers each", hint=_DAMAGED, code="LB2103")
    return names


def _input_port(tensor: Tensor, names: list[str], aipp: Aipp | None) -> Port:
    rest = iter(names)
    source = tensor.source_dims or tensor.dims
    shape = tuple(next(rest) if dim == -1 else dim for dim in source)
    if aipp is None and tensor.source_dims not in ((), tensor.dims):
        aipp = Aipp("static", "unknown")
    return _checked(Port(tensor.name, tensor.dtype, shape, tensor.layout, aipp))


def _output_port(index: int, tensor: Tensor, interface: Interface, names: Mapping[str, list[str]]) -> Port:
    """Return an output, each of whose dimensions is fixed, or one of the inputs' named ones, or has a name of its own."""
    gears = interface.gears
    if gears is None:  # an extent that only the data will tell gets a name that no input has
        shape = tuple(f"output{index}_dim{axis}" if dim == -1 else dim for axis, dim in enumerate(tensor.dims))
        return _checked(Port(tensor.name, tensor.dtype, shape, tensor.layout))
    if not gears.output_shapes:
        largest: list[Dim] = list(tensor.dims)
        if gears.kind == "batch" and tensor.dims[:1] in ((gears.batches[-1],), (-1,)):
            largest[0] = BATCH
        return _checked(Port(tensor.name, tensor.dtype, tuple(largest), tensor.layout))
    if len({len(shapes[index]) for shapes in gears.output_shapes}) != 1:
        raise SignatureError(f"output '{tensor.name}' has another rank in each gear", hint=_DAMAGED, code="LB2103")
    dims: list[Dim] = []
    for axis, extents in enumerate(zip(*(shapes[index] for shapes in gears.output_shapes), strict=True)):
        if gears.kind == "batch" and axis == 0 and extents == tuple(choice[0] for choice in gears.choices):
            dims.append(BATCH)
        elif len(set(extents)) == 1:
            dims.append(extents[0])
        else:
            dims.append(_follows(extents, gears, names) or f"output{index}_dim{axis}")
    return _checked(Port(tensor.name, tensor.dtype, tuple(dims), tensor.layout))


def _follows(extents: tuple[int, ...], gears: Gears, names: Mapping[str, list[str]]) -> str:
    """Return the named dimension that has these extents in all gears, or ""."""
    known = list(dict.fromkeys(name for group in names.values() for name in group))
    columns = zip(*gears.choices, strict=True)
    return next((name for name, column in zip(known, columns, strict=False) if column == extents and gears.kind != "batch"), "")


def _checked(port: Port) -> Port:
    fixed = [dim for dim in port.shape if isinstance(dim, int)]
    if any(dim < 0 for dim in fixed) or math.prod(fixed) > MAX_ELEMENTS or len(port.shape) > 32:
        raise SignatureError(f"'{port.name}' has the shape {list(port.shape)}", hint=_DAMAGED, code="LB2103")
    if port.dtype not in ITEM_NBYTES:
        hint = "leave the operators of this type out of the model"
        raise SignatureError(f"'{port.name}' has the type {port.dtype}, which cannot be fed from here", hint=hint, code="LB2110")
    return replace(port, layout=port.layout if port.layout.isascii() else "ND")


def read_versions(container: Container, graph: Graph) -> dict[str, str]:
    """Return what the file was made by ("platform", "atc") and for ("soc"), as far as it says."""
    attributes = graph.attributes
    soc = attributes.text("soc_version") or _PLATFORMS.get(container.platform_type, "")
    found = {"platform": container.platform, "soc": soc, "atc": attributes.text("atc_version")}
    return {key: text for key, text in found.items() if text}
