"""What a loaded engine expects: its tensors, its optimisation profiles, and the signature that ``landbridge capture`` writes.

Only calls that are the same from TensorRT 8.5 to 11 are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError, InputError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Dim, Port, Signature
from landbridge.runtime.vendors.tensorrt.plan import named_dims, own_dims

DTYPES: dict[str, str] = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "FP8": "float8_e4m3fn",
    "INT4": "int4",
    "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}
"""TensorRT's element types."""

_LINEAR = "row major linear"

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The least, the best and the greatest shape of an input."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine.

    Attributes:
        name: by which everything is asked and set.
        dtype: as in signatures.
        shape: -1 where it is not fixed.
        on_host: a shape tensor: its values are read or written on the host.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    on_host: bool


@dataclass(frozen=True)
class Interface:
    """The tensors of an engine.

    Attributes:
        inputs: in the engine's order.
        outputs: in the engine's order.
        profiles: for each optimisation profile the ranges of the inputs whose shape is not fixed.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[Mapping[str, Range], ...]


def read_interface(trt: Any, engine: Any, at: str) -> Interface:
    """Return the interface of an engine.

    Raises:
        DeviceError: it has a type or a memory layout that cannot be passed.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    tensors = {name: _tensor(trt, engine, name, at) for name in names}
    dynamic = [name for name in inputs if -1 in tensors[name].shape]
    profiles = [
        {name: _range(engine.get_tensor_profile_shape(name, profile)) for name in dynamic}
        for profile in range(engine.num_optimization_profiles)
    ]
    outputs = [name for name in names if name not in inputs]
    return Interface(tuple(tensors[name] for name in inputs), tuple(tensors[name] for name in outputs), tuple(profiles))


def _tensor(trt: Any, engine: Any, name: str, at: str) -> Tensor:
    dtype = DTYPES.get(engine.get_tensor_dtype(name).name)
    if dtype is None:
        raise DeviceError(
            f"'{name}' has elements of TensorRT's type {engine.get_tensor_dtype(name).name}, which cannot be passed", at=at, code="LB4007"
        )
    layout = str(engine.get_tensor_format_desc(name))
    if _LINEAR not in layout.lower().replace("-", " "):
        raise DeviceError(
            f"'{name}' wants the memory layout '{layout}'",
            at=at,
            hint="build the engine with linear inputs and outputs (trtexec: chw)",
            code="LB4007",
        )
    on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
    return Tensor(name, dtype, tuple(int(extent) for extent in engine.get_tensor_shape(name)), on_host)


def _range(shapes: Sequence[Any]) -> Range:
    least, best, greatest = (tuple(int(extent) for extent in shape) for shape in shapes)
    return least, best, greatest


def check_signature(interface: Interface, signature: Signature, at: str) -> None:
    """Compare an engine with the signature it is called by; ports are matched by name.

    Raises:
        DeviceError: they differ.
    """
    for kind, tensors, ports in (("inputs", interface.inputs, signature.inputs), ("outputs", interface.outputs, signature.outputs)):
        own = {tensor.name: tensor for tensor in tensors}
        agree = len(own) == len(ports) and all(port.name in own and _agree(own[port.name], port) for port in ports)
        if not agree:
            found = ", ".join(f"'{tensor.name}' {tensor.dtype} {render_shape(tensor.shape)}" for tensor in tensors) or "none"
            told = ", ".join(f"'{port.name}' {port.dtype} {render_shape(port.shape)}" for port in ports) or "none"
            raise DeviceError(
                f"the engine's {kind} are {found}; its signature says {told}",
                at=at,
                hint="write the signature anew: landbridge capture",
                code="LB4007",
            )


def _agree(tensor: Tensor, port: Port) -> bool:
    """Return whether they are the same; a signature may fix what the engine leaves open."""
    return (
        tensor.dtype == port.dtype
        and len(tensor.shape) == len(port.shape)
        and all(own in (-1, told) for own, told in zip(tensor.shape, port.shape, strict=True))
    )


def choose_profile(interface: Interface, refs: Mapping[str, TensorRef], at: str) -> int:
    """Return the first optimisation profile that takes these inputs.

    Raises:
        InputError: none does; the message has the least, the best and the greatest shape of every one.
    """
    if not any(interface.profiles):
        return 0
    for index, profile in enumerate(interface.profiles):
        if all(_takes(ranges, refs[name].shape) for name, ranges in profile.items()):
            return index
    dynamic = interface.profiles[0]
    given = ", ".join(f"'{name}' {render_shape(refs[name].shape)}" for name in dynamic)
    known = "; ".join(
        f"profile {index}: "
        + ", ".join(
            f"'{name}' min {render_shape(low)} opt {render_shape(best)} max {render_shape(high)}" for name, (low, best, high) in p.items()
        )
        for index, p in enumerate(interface.profiles)
    )
    raise InputError(
        f"no optimisation profile of the engine takes {given}; {known}", at=at, hint="give a shape in one of these ranges", code="LB1208"
    )


def _takes(ranges: Range, shape: Sequence[int]) -> bool:
    least, _, greatest = ranges
    return len(least) == len(shape) and all(low <= extent <= high for low, extent, high in zip(least, shape, greatest, strict=True))


def captured_signature(interface: Interface, context: Any, facts: Mapping[str, str], workspace_nbytes: int) -> Signature:
    """Return the signature of an engine: an output's dimension has the name of the input's that it follows.

    Which one it follows is tried out on ``context``, an execution context of the first profile. One that follows none has a name of its
    own: it is other arithmetic of them, or the values of shape tensors or of the data tell it.
    """
    inputs = {tensor.name: named_dims(tensor.name, tensor.shape) for tensor in interface.inputs}
    spans = _spans(interface, inputs)
    inputs = {name: tuple(_fixed(dim, spans) for dim in dims) for name, dims in inputs.items()}
    free = {dim: span for dim, span in spans.items() if span[0] < span[1]}
    outputs = {tensor.name: list(own_dims(tensor.name, tensor.shape)) for tensor in interface.outputs}
    if not any(tensor.on_host for tensor in interface.inputs):
        for name, dims in _followed(interface, context, inputs, free).items():
            outputs[name] = [old if new is None else new for old, new in zip(outputs[name], dims, strict=True)]
    return Signature(
        inputs=tuple(Port(tensor.name, tensor.dtype, inputs[tensor.name]) for tensor in interface.inputs),
        outputs=tuple(Port(tensor.name, tensor.dtype, tuple(outputs[tensor.name])) for tensor in interface.outputs),
        workspace_nbytes=workspace_nbytes,
        versions=dict(facts),
        origin=dict.fromkeys(("inputs", "outputs", "workspace_nbytes", "versions"), "device"),
    )


def _spans(interface: Interface, inputs: Mapping[str, tuple[Dim, ...]]) -> dict[str, tuple[int, int]]:
    """Return for each named dimension what the first profile takes; one name on several inputs takes what all of them take."""
    spans: dict[str, tuple[int, int]] = {}
    for name, (least, _, greatest) in interface.profiles[0].items() if interface.profiles else ():
        for dim, low, high in zip(inputs[name], least, greatest, strict=True):
            if isinstance(dim, str):
                before = spans.get(dim, (0, high))
                spans[dim] = (max(before[0], low), min(before[1], high))
    return spans


def _fixed(dim: Dim, spans: Mapping[str, tuple[int, int]]) -> Dim:
    """Return the only extent that a dimension can have, else its name."""
    low, high = spans.get(str(dim), (0, 1))
    return low if isinstance(dim, str) and low == high else dim


def _followed(
    interface: Interface, context: Any, inputs: Mapping[str, tuple[Dim, ...]], free: Mapping[str, tuple[int, int]]
) -> dict[str, list[Dim | None]]:
    """Return for each output and axis the dimension that it always equals, or its only extent, or None."""
    least = {dim: low for dim, (low, _) in free.items()}
    trials = [least, *({**least, dim: high} for dim, (_, high) in free.items())]
    shapes = list(_tried(interface, context, inputs, trials))
    if len(shapes) < len(trials):
        return {}
    found: dict[str, list[Dim | None]] = {}
    for tensor in interface.outputs:
        columns = [[shape[tensor.name][axis] for shape in shapes] for axis in range(len(tensor.shape))]
        found[tensor.name] = [_followed_by(column, trials, free) for column in columns]
    return found


def _followed_by(extents: Sequence[int], trials: Sequence[Mapping[str, int]], free: Mapping[str, tuple[int, int]]) -> Dim | None:
    if min(extents) < 0:
        return None
    if len(set(extents)) == 1:
        return extents[0]
    return next((dim for dim in free if all(extent == trial[dim] for extent, trial in zip(extents, trials, strict=True))), None)


def _tried(
    interface: Interface, context: Any, inputs: Mapping[str, tuple[Dim, ...]], trials: Sequence[Mapping[str, int]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield the outputs' shapes of each trial, until one does not do."""
    for trial in trials:
        for tensor in interface.inputs:
            shape = tuple(trial[dim] if isinstance(dim, str) else dim for dim in inputs[tensor.name])
            if not context.set_input_shape(tensor.name, shape):
                return
        if context.infer_shapes():
            return
        yield {tensor.name: tuple(int(extent) for extent in context.get_tensor_shape(tensor.name)) for tensor in interface.outputs}
