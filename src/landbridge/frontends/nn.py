"""The module API: TVM Relax's ``nn``, and offline models as modules.

A model is a class whose ``forward`` calls operators and offline models; `from_module` runs it once on symbolic tensors and
keeps what it did. Everything of ``tvm.relax.frontend.nn`` is here under the same name (``nn.relu``, ``nn.Linear`` …).

An offline model keeps its weights inside its blob: such a module has no loose weights to hand out, and asking for them is an
error (R7). It is saved whole, as a compiled artifact.

Example:
    >>> class Net(lb.nn.Module):
    ...     def __init__(self):
    ...         self.backbone = lb.AtlasRuntimeSubgraph(open("digits/backbone.om", "rb").read(), name="backbone.om")
    ...     def forward(self, x):
    ...         return lb.nn.softmax(self.backbone(x)[0], axis=1)
    >>> lb.from_module(Net(), {"x": lb.TensorSpec(("n", 1, 8, 8), "float32")})
    Program('Net', x: float32 [n, 1, 8, 8] -> output, 2 operators; offline models: backbone.om on atlas0)
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import tvm
from tvm import relax
from tvm.relax.frontend import nn as relax_nn
from tvm.relax.frontend.nn.core import _attribute_finder

from landbridge.frontends.names import NameTable
from landbridge.frontends.output_types import output_types
from landbridge.frontends.traced_error import explain
from landbridge.ir.body import MAIN, Binding, Body, extern_call, extern_symbol, is_extern
from landbridge.ir.devices import VDevices
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, ExternModel, Program, extern_entry
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.dtypes import BITS, is_dtype
from landbridge.runtime.errors import ModelError, UsageError, did_you_mean
from landbridge.runtime.signature import Dim, Signature

Tensor = relax_nn.Tensor

_COPY = "landbridge.copy:"
"""Prefix of the call that stands for a copy while a module is traced: Relax would refuse operands of two devices."""


def __getattr__(name: str) -> Any:
    """Return TVM's own module, operator or class of that name."""
    try:
        return getattr(relax_nn, name)
    except AttributeError:
        raise AttributeError(f"landbridge.nn has no '{name}', nor has tvm.relax.frontend.nn") from None


@dataclass(frozen=True)
class TensorSpec:
    """An input of a module.

    Attributes:
        shape: extents; a string names a dimension that the caller of the session chooses.
        dtype: such as "float32".
        device: where the caller puts it.

    Example:
        >>> image = lb.TensorSpec(("n", 8, 8, 1), "uint8")
    """

    shape: tuple[Dim, ...]
    dtype: str
    device: str = "cpu"


class Module(relax_nn.Module):  # type: ignore[misc]  # tvm has no types
    """A model or a part of one; subclass it and define ``forward``."""

    def state_dict(self, *, prefix: str = "", destination: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters by name.

        Raises:
            ModelError: there is an offline model in it (R7).
        """
        _refuse_weights(self)
        result: dict[str, Any] = super().state_dict(prefix=prefix, destination=destination)
        return result

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Set the parameters.

        Raises:
            ModelError: there is an offline model in it (R7).
        """
        _refuse_weights(self)
        result: tuple[list[str], list[str]] = super().load_state_dict(state_dict, strict)
        return result

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield the parameters with their names.

        Raises:
            ModelError: there is an offline model in it (R7).
        """
        _refuse_weights(self)
        parameters: Iterator[tuple[str, Any]] = super().named_parameters(prefix)
        return parameters


class RuntimeSubgraph(Module):
    """An offline model as a module; use the class of its vendor.

    Calling it gives a *sequence* of outputs, always. It takes its inputs one by one or as one list. It runs on the device that
    ``device`` names, else on that of its first input where that is of the vendor's kind, else on the vendor's first device.
    """

    vendor: ClassVar[str]

    def __init__(
        self,
        data: bytes,
        *,
        device: str | None = None,
        signature: Signature | None = None,
        name: str = "",
        alternatives: Sequence[ExternModel] = (),
        **options: str,
    ) -> None:
        """Take the blob as bytes.

        Args:
            data: the blob.
            device: where it runs.
            signature: what it expects and gives, where it does not tell itself.
            name: what messages call it; the attribute that holds it by default.
            alternatives: other blobs of its interface, tried in this order on a machine that cannot run it; of any vendor.
            options: vendor-specific.

        Raises:
            UsageError: ``data`` is not bytes.
            SignatureError: not a blob of this vendor, its signature cannot be read and is not given, or an alternative has another one.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            hint = "read the file first: open(path, 'rb').read()" if isinstance(data, str) else ""
            raise UsageError(
                f"an offline model is given as bytes, not as {type(data).__name__}", at=type(self).__name__, hint=hint, code="LB1110"
            )
        self.name = name
        title = name or type(self).__name__
        model = ExternModel.from_bytes(bytes(data), self.vendor, signature=signature, options=options, name=title)
        self.model = model.with_alternatives(alternatives)
        self.device = device

    def forward(self, *inputs: Any) -> list[Any]:
        """Call the offline model on symbolic tensors.

        Raises:
            UsageError: not inside `from_module`.
            SignatureError: the shapes of the outputs do not follow from those of the inputs.
        """
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple):
            inputs = tuple(inputs[0])
        return _Trace.current(type(self).__name__).call(self, inputs)


class AtlasRuntimeSubgraph(RuntimeSubgraph):
    """An Ascend ``.om`` file.

    Example:
        >>> backbone = lb.AtlasRuntimeSubgraph(open("digits/backbone.om", "rb").read(), device="atlas1")
    """

    vendor = "atlas"


class CambriconRuntimeSubgraph(RuntimeSubgraph):
    """A function of a Cambricon offline model of CNRT 4.

    What it expects is asked of the vendor's library, where that is installed (a card is not needed), unless ``signature`` says so:
    ``lb.ExternModel.from_file`` reads it from a sidecar beside the file. Images are NHWC, as on the device.

    Example:
        >>> lb.CambriconRuntimeSubgraph(open("net.cambricon", "rb").read(), "subnet0")  # doctest: +SKIP
    """

    vendor = "cambricon"

    def __init__(
        self,
        data: bytes,
        symbol: str,
        tensor_dim_mutable: bool = False,
        *,
        device: str | None = None,
        signature: Signature | None = None,
        name: str = "",
        alternatives: Sequence[ExternModel] = (),
    ) -> None:
        """Take the blob as bytes.

        Args:
            symbol: of the function, such as "subnet0".
            tensor_dim_mutable: the model leaves dimensions open, and the caller of the session chooses them.

        Raises:
            UsageError: ``data`` is not bytes.
            SignatureError: not a blob of this vendor, or its signature cannot be read and is not given.
        """
        options = {"symbol": symbol, "tensor_dim_mutable": "true" if tensor_dim_mutable else "false"}
        super().__init__(data, device=device, signature=signature, name=name, alternatives=alternatives, **options)


class MagicMindRuntimeSubgraph(RuntimeSubgraph):
    """A MagicMind model, for Cambricon cards of CNRT 5 and later.

    What it expects is asked of the vendor's Python package, where that is installed (a card is not needed), unless ``signature``
    says so: ``lb.ExternModel.from_file`` reads it from a sidecar beside the file.

    Example:
        >>> told = lb.Signature((lb.Port("x", "float32", (1, 4)),), (lb.Port("y", "float32", (1, 4)),))
        >>> net = lb.MagicMindRuntimeSubgraph(b"the bytes of net.mm", signature=told, name="net.mm")
    """

    vendor = "magicmind"


class OpenvinoRuntimeSubgraph(RuntimeSubgraph):
    """A blob that OpenVINO exported.

    Example:
        >>> def head(x):  # the same without a file: OpenVINO compiles the region
        ...     return lb.offload(x, "openvino0", inputs=["features"], outputs=["logits"])
        >>> blob = next(iter(head(model).externs.values()))
        >>> lb.OpenvinoRuntimeSubgraph(blob.data).vendor
        'openvino'
    """

    vendor = "openvino"


class OnnxruntimeRuntimeSubgraph(RuntimeSubgraph):
    """A serialised ONNX model that ONNX Runtime runs on the CPU.

    Example:
        >>> digits = lb.OnnxruntimeRuntimeSubgraph(open("digits/digits.onnx", "rb").read())
    """

    vendor = "onnxruntime"


class TensorrtRuntimeSubgraph(RuntimeSubgraph):
    """A TensorRT plan, which does not tell its signature: give ``signature``, such as ``landbridge capture`` finds.

    Example:
        >>> told = lb.Signature((lb.Port("x", "float32", (1, 4)),), (lb.Port("y", "float32", (1, 4)),))
        >>> engine = lb.TensorrtRuntimeSubgraph(b"ftrt and the rest of net.plan", signature=told)
    """

    vendor = "tensorrt"


class LitertRuntimeSubgraph(RuntimeSubgraph):
    """A LiteRT model (.tflite).

    Example:
        >>> net = lb.LitertRuntimeSubgraph(open("net.tflite", "rb").read())
    """

    vendor = "litert"


class IreeRuntimeSubgraph(RuntimeSubgraph):
    """A module that IREE compiled for a CPU (.vmfb).

    Example:
        >>> net = lb.IreeRuntimeSubgraph(open("net.vmfb", "rb").read())
    """

    vendor = "iree"


def copy(x: Any, device: str) -> Any:
    """Return ``x`` on ``device``.

    Needed in ``mode="strict"`` only, as in ``mode="auto"`` the compiler inserts copies itself; but an output that is a copy stays on its
    device in either mode.

    Example:
        >>> class There(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.copy(x, "atlas0")
        >>> lb.compile(lb.from_module(There(), {"x": lb.TensorSpec((4,), "float32")})).report.copies[0].reason
        "needed on atlas0 by output 'output'"
    """
    symbol = _COPY + str(Device.parse(device))
    call = relax.call_dps_packed(symbol, relax.Tuple([x._expr]), out_ty=[x._expr.ty])
    return Tensor(_expr=relax.BlockBuilder.current().emit(call, "copy"))


def astype(x: Any, dtype: str) -> Any:
    """Return ``x`` converted to ``dtype``, which happens on the CPU (R4).

    Example:
        >>> class Half(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.astype(x, "float16")
        >>> program = lb.from_module(Half(), {"x": lb.TensorSpec((4,), "float32")})
    """
    return relax_nn.op.astype(x, dtype)


class _Outputs(list[Any]):
    """The outputs of an offline model, which is no tensor even where there is one of them."""

    def __init__(self, name: str, tensors: Sequence[Any]) -> None:
        super().__init__(tensors)
        self._name = name

    @property
    def _expr(self) -> Any:
        """What operators ask a tensor for."""
        raise UsageError(
            f"the outputs of an offline model are used like a tensor; they are a sequence of {len(self)}",
            at=self._name,
            hint=f"choose one: {self._name}(…)[0]",
            code="LB1114",
        )


@dataclass
class _Trace:
    """One run of a module on symbolic tensors.

    Attributes:
        names: what the user calls each offline model: the attribute that holds it ("backbone"), by identity of the module.
        calls: for each symbol its module and the device of its call.
    """

    names: dict[int, str]
    calls: dict[str, tuple[RuntimeSubgraph, Device]] = field(default_factory=dict)
    devices: dict[Any, Device] = field(default_factory=dict)

    _active: ClassVar[threading.local] = threading.local()

    @staticmethod
    def current(caller: str) -> _Trace:
        trace: _Trace | None = getattr(_Trace._active, "trace", None)
        if trace is None:
            raise UsageError("an offline model can only be called inside lb.from_module", at=caller, code="LB1114")
        return trace

    def __enter__(self) -> _Trace:
        _Trace._active.trace = self
        return self

    def __exit__(self, *_: object) -> None:
        _Trace._active.trace = None

    def call(self, module: RuntimeSubgraph, inputs: Sequence[Any]) -> list[Any]:
        name = self.name_of(module)
        symbol = f"{module.vendor}_{len(self.calls)}"
        arguments = [tensor._expr for tensor in inputs]
        types = output_types(module.model.signature, arguments, at=name)
        self.calls[symbol] = (module, self._device(module, arguments))
        builder = relax.BlockBuilder.current()
        result = builder.emit(extern_call(symbol, arguments, types[0] if len(types) == 1 else tvm.ir.TupleType(types)), name)
        if len(types) == 1:
            return _Outputs(name, [Tensor(_expr=result)])
        fields = [builder.emit(relax.TupleGetItem(result, i), f"{name}.{i}") for i in range(len(types))]
        return _Outputs(name, [Tensor(_expr=part) for part in fields])

    def name_of(self, module: RuntimeSubgraph) -> str:
        """What messages call an offline model: the name it was given, else the attribute that holds it."""
        return module.name or self.names.get(id(module), module.model.name)

    def _device(self, module: RuntimeSubgraph, arguments: Sequence[Any]) -> Device:
        if module.device is not None:
            return Device.parse(module.device)
        kind = module.model.device_kind
        first = self._device_of(arguments[0]) if arguments else CPU
        return first if first.kind == kind else Device(kind)

    def _device_of(self, expr: Any) -> Device:
        if expr in self.devices:
            return self.devices[expr]
        value = relax.BlockBuilder.current().lookup_binding(expr) if isinstance(expr, relax.Var) else None
        if value is None or not is_extern(value):
            return CPU
        symbol = extern_symbol(value)
        return Device.parse(symbol.removeprefix(_COPY)) if symbol.startswith(_COPY) else self.calls[symbol][1]


@one_at_a_time
def from_module(module: Any, inputs: Mapping[str, TensorSpec], *, name: str | None = None) -> Program:
    """Return the program that ``module.forward`` describes.

    Args:
        module: an ``nn.Module``; its parameters must have data.
        inputs: for each argument of ``forward``, by name, what the caller of the session gives.
        name: what to call the model in messages; the class's name by default.

    Raises:
        UsageError: ``inputs`` are not the arguments of ``forward``, or an unknown device.
        ModelError: a parameter has no data, or ``forward`` does not return tensors.
        SignatureError: an offline model cannot be called like this.

    Example:
        >>> class Net(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.nn.relu(x)
        >>> program = lb.from_module(Net(), {"x": lb.TensorSpec((1, 3), "float32")})
    """
    title = name or type(module).__name__
    arguments = list(inspect.signature(module.forward).parameters)
    if arguments != list(inputs):
        raise UsageError(
            f"inputs {list(inputs)} given, forward takes {arguments}", at=title, hint="give a TensorSpec for each argument, in order"
        )
    dims: dict[str, Any] = {}
    params = [relax.Var(key, _relax_type(spec, dims, at=key)) for key, spec in inputs.items()]
    devices = [Device.parse(spec.device) for spec in inputs.values()]
    with _Trace({id(part): path for path, part in _subgraphs(module, "")}, devices=dict(zip(params, devices, strict=True))) as trace:
        traced, returned = _run(module, params, title)
    return _to_program(traced, returned, devices, trace, title)


def _run(module: Any, params: Sequence[Any], title: str) -> tuple[tvm.IRModule, list[str]]:
    """Return the Relax module that ``forward`` makes, and the user's names of its outputs."""
    without_data = [key for key, p in _attribute_finder(module, "", lambda v: isinstance(v, relax_nn.Parameter)) if p.data is None]
    if without_data:
        raise ModelError(
            f"parameters without data: {', '.join(without_data)}", at=title, hint="set parameter.data, or load_state_dict", code="LB2011"
        )
    for _, parameter in _attribute_finder(module, "", lambda v: isinstance(v, relax_nn.Parameter)):
        parameter._expr = relax.const(parameter.data)
    builder = relax.BlockBuilder()
    with builder.function(MAIN, list(params)):
        with builder.dataflow():
            try:
                result = module.forward(*[Tensor(_expr=param) for param in params])
            except Exception as error:  # TVM raises anything; errors of the user's own go through
                explained = explain(error, title)
                if explained is None:
                    raise
                raise explained from error
            named = _named_outputs(result, title)
            outputs = builder.emit_output(relax.Tuple([tensor._expr for tensor in named.values()]))
        builder.emit_func_output(outputs)
    return builder.finalize(), list(named)


def _named_outputs(result: Any, title: str) -> dict[str, Any]:
    if isinstance(result, dict):
        named = {str(key): value for key, value in result.items()}
    elif isinstance(result, list | tuple):
        named = {"output": result[0]} if len(result) == 1 else {f"output_{i}": value for i, value in enumerate(result)}
    else:
        named = {"output": result}
    for key, value in named.items():
        if not isinstance(value, Tensor):
            raise ModelError(f"forward returns a {type(value).__name__} for '{key}', expected a tensor", at=title, code="LB2011")
    if not named:
        raise ModelError("forward returns nothing", at=title, code="LB2011")
    return named


def _to_program(traced: tvm.IRModule, returned: Sequence[str], devices: Sequence[Device], trace: _Trace, title: str) -> Program:
    vdevices, table = VDevices(), NameTable()
    body = Body.of(traced)
    types = [vdevices.on(p.ty, device) for p, device in zip(body.params, devices, strict=True)]
    params = [relax.Var(table.identifier(p.name), t) for p, t in zip(body.params, types, strict=True)]
    renamed = dict(zip(body.params, params, strict=True))
    bindings = []
    for binding in body.bindings:
        value, result_type = binding.value, binding.var.ty
        if _is_written_copy(value):
            device = Device.parse(extern_symbol(value).removeprefix(_COPY))
            value, result_type = relax.op.to_vdevice(value.args[1].fields[0], vdevices.get(device)), vdevices.on(result_type, device)
        renamed[binding.var] = relax.Var(table.identifier(binding.var.name), result_type)
        bindings.append(Binding(binding.var, value))
    module = Body(body.params, tuple(bindings), body.outputs).renamed(renamed).write(tvm.IRModule(), vdevices)
    externs = {symbol: replace(subgraph.model, name=trace.name_of(subgraph)) for symbol, (subgraph, _) in trace.calls.items()}
    entries = {symbol: extern_entry(externs[symbol], device) for symbol, (_, device) in trace.calls.items()}
    copied = {b.var: extern_symbol(b.value).removeprefix(_COPY) for b in body.bindings if _is_written_copy(b.value)}
    wanted = [[key, copied.get(output, "")] for key, output in zip(returned, body.outputs, strict=True)]
    attributes = {EXTERNS: entries, NAMES: table.names, OUTPUTS: wanted, MODEL: title}
    return Program(module.with_attrs(attributes), externs)


def _is_written_copy(value: Any) -> bool:
    return is_extern(value) and extern_symbol(value).startswith(_COPY)


def _relax_type(spec: TensorSpec, dims: dict[str, Any], *, at: str) -> Any:
    where = f"input '{at}'"
    if not isinstance(spec, TensorSpec):
        raise UsageError(f"expected a TensorSpec, found {type(spec).__name__}", at=where, code="LB1110")
    if not is_dtype(spec.dtype):
        raise UsageError(f"unknown dtype '{spec.dtype}'", at=where, hint=did_you_mean(str(spec.dtype), BITS))
    for axis, dim in enumerate(spec.shape):
        if not ((isinstance(dim, str) and dim) or (isinstance(dim, int) and dim >= 0)):
            message = f"{dim!r} on axis {axis}, expected an extent of 0 or more, or a name"
            raise UsageError(message, at=where, hint='name a dimension that the caller chooses, such as "n"')
    shape = [dims.setdefault(dim, tvm.tirx.Var(dim, "int64")) if isinstance(dim, str) else dim for dim in spec.shape]
    return relax.TensorType(shape, spec.dtype)


def _subgraphs(module: Any, path: str) -> Iterator[tuple[str, RuntimeSubgraph]]:
    """Yield every offline model in ``module`` with the attributes that lead to it. TVM's own walk passes over lists of them."""
    if isinstance(module, RuntimeSubgraph):
        yield path or module.model.name, module
        return
    if isinstance(module, relax_nn.ModuleList):
        parts = [(str(i), part) for i, part in enumerate(module)]
    elif isinstance(module, relax_nn.ModuleDict):
        parts = list(module.items())
    else:
        parts = list(vars(module).items()) if isinstance(module, relax_nn.Module) else []
    for key, part in parts:
        yield from _subgraphs(part, f"{path}.{key}" if path else key)


def _refuse_weights(module: Any) -> None:
    names = [path for path, _ in _subgraphs(module, "")]
    if names:
        raise ModelError(
            f"this model has offline models in it ({', '.join(names)}), whose weights are inside their blobs: it has no weights to save",
            at=type(module).__name__,
            hint='save it whole: lb.compile(lb.from_module(…)).save("model.lbr")',
            code="LB2010",
        )
