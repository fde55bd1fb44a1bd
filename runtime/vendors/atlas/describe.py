"""What ``landbridge inspect`` says of an OM file beyond its signature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from landbridge.runtime.vendors.atlas.format import AIPP_INPUT, GEAR_INPUT, VERSION_1, ModelTaskDef, ModelType, Partition
from landbridge.runtime.vendors.atlas.graph import Graph, read_graph
from landbridge.runtime.vendors.atlas.interface import read_interface, read_versions
from landbridge.runtime.vendors.atlas.om import Container, read_kernels
from landbridge.runtime.vendors.protobuf import Message

_MOST_LISTED = 16


def describe(container: Container) -> list[tuple[str, str]]:
    """Return (label, text) pairs.

    Raises:
        SignatureError: the file is damaged.
    """
    graph = read_graph(container)
    kernels = read_kernels(container)
    version = 1 if container.version == VERSION_1 else 2
    made = f"{container.platform or 'unknown'}{' (made for the simulator)' if container.made_for_simulator else ''}"
    table = "64-bit" if container.wide else "32-bit"
    return [
        ("container", f"OM version {version} ({container.version:#010x}), {table} partition table, not encrypted"),
        ("model", f"{container.name} (type {ModelType(container.model_type).name.lower()}, IR version {container.om_ir_version})"),
        ("platform", f"{made}, type {container.platform_type}{_target(container, graph)}"),
        ("partitions", ", ".join(f"{section.name} {len(section.data)} B at {section.offset_bytes}" for section in container.sections)),
        ("operators", f"{len(graph.operators)}: {_count_types(graph)}"),
        ("kernels", _list(len(kernels), (f"{kernel.name} {kernel.nbytes} B" for kernel in kernels))),
        *_describe_tasks(container, graph),
        *_describe_memory(graph),
        *_describe_constants(graph),
        *_describe_convolutions(graph),
        *_describe_hidden_inputs(container, graph),
    ]


def _target(container: Container, graph: Graph) -> str:
    known = [text for text in (graph.attributes.text("target_type"), read_versions(container, graph).get("soc", "")) if text]
    return f" ({', '.join(known)})" if known else ""


def _count_types(graph: Graph) -> str:
    counts = Counter(operator.type for operator in graph.operators)
    return ", ".join(kind if count == 1 else f"{kind} x{count}" for kind, count in counts.items())


def _list(count: int, texts: Iterable[str]) -> str:
    listed = [text for _, text in zip(range(_MOST_LISTED), texts, strict=False)]
    if not listed:
        return str(count)
    return f"{count}: {', '.join(listed)}{', ...' if count > len(listed) else ''}"


def _describe_tasks(container: Container, graph: Graph) -> list[tuple[str, str]]:
    streams, events = graph.attributes.integer("stream_num"), graph.attributes.integer("event_num")
    info = container.partition(Partition.TASK_INFO)
    tasks = len(Message(info, "TASK_INFO").blobs(ModelTaskDef.TASK)) if info else 0
    return [("tasks", f"{tasks}, on {streams} streams with {events} events")]


def _describe_memory(graph: Graph) -> list[tuple[str, str]]:
    names = ("memory_size", "weight_size", "zero_copy_memory_size")
    work, weights, zero_copy = (graph.attributes.integer(name) for name in names)
    return [("memory", f"{work} B while it runs ({zero_copy} B of inputs and outputs), weights {weights} B")]


def _describe_constants(graph: Graph) -> list[tuple[str, str]]:
    lines = []
    for operator in graph.of_type("Const")[:_MOST_LISTED]:
        found = operator.attributes.constant("value")
        if found is None:
            continue
        descriptor, offset, nbytes = found
        origin = descriptor.attributes.integers("origin_shape")
        was = f" (as written: {descriptor.attributes.text('origin_format')} {origin})" if origin else ""
        shape = f"{descriptor.dtype} {descriptor.layout} {list(descriptor.shape)}{was}"
        lines.append(("constant", f"{operator.name}: {shape}, {nbytes} B at offset {offset} of the weights"))
    return lines


def _describe_convolutions(graph: Graph) -> list[tuple[str, str]]:
    lines = []
    for operator in graph.of_type("Conv2D")[:_MOST_LISTED]:
        settings = {name: operator.attributes.integers(name) for name in ("strides", "pads", "dilations")}
        told = ", ".join(f"{name} {values}" for name, values in settings.items() if values)
        lines.append(("convolution", f"{operator.name}{': ' if told else ''}{told}"))
    return lines


def _describe_hidden_inputs(container: Container, graph: Graph) -> list[tuple[str, str]]:
    hidden = [tensor for tensor in read_interface(container, graph).inputs if tensor.name in (GEAR_INPUT, AIPP_INPUT)]
    return [("hidden input", f"{tensor.name} {tensor.dtype} {list(tensor.dims)}") for tensor in hidden]
