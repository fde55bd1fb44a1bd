"""Offline models as modules, a class a vendor, and the modules that may hold them.

An offline model keeps its weights inside its blob: such a module has no loose weights to hand out, and asking for them is an
error (R7). It is saved whole, as a compiled artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from tvm.relax.frontend import nn as relax_nn

from landbridge.frontends.trace import Trace
from landbridge.ir.program import ExternModel
from landbridge.runtime.errors import ModelError, UsageError
from landbridge.runtime.signature import Signature


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
        return Trace.current(type(self).__name__).call(self, inputs)


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


def subgraphs(module: Any, path: str) -> Iterator[tuple[str, RuntimeSubgraph]]:
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
        yield from subgraphs(part, f"{path}.{key}" if path else key)


def _refuse_weights(module: Any) -> None:
    names = [path for path, _ in subgraphs(module, "")]
    if names:
        raise ModelError(
            f"this model has offline models in it ({', '.join(names)}), whose weights are inside their blobs: it has no weights to save",
            at=type(module).__name__,
            hint='save it whole: lb.compile(lb.from_module(…)).save("model.lbr")',
            code="LB2010",
        )
