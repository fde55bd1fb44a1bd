"""An ONNX model as ONNX itself means it, any value of which can be asked for: by ONNX Runtime, else by the evaluator of ``onnx``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from landbridge.frontends.onnx.load import OnnxModel, load
from landbridge.runtime.errors import ModelError, did_you_mean

Array = NDArray[Any]
Evaluate = Callable[[dict[str, Array]], list[Array]]


class Reference:
    """An ONNX model to compare with.

    Attributes:
        title: what messages call it.
        by: "onnxruntime" or "onnx", whoever computes.
        model: the `ModelProto`.
        names: of all values that can be asked for.
    """

    def __init__(self, model: OnnxModel, name: str | None = None, *, by: str | None = None) -> None:
        """Read the model.

        Args:
            model: its path, its bytes, or a `ModelProto`.
            name: what to call it; by default what the file is called.
            by: who is to compute; ONNX Runtime where it is installed.

        Raises:
            ModelError: it cannot be read or is not valid.
        """
        self.model, self.title = load(model, name)
        graph = self.model.graph
        constants = {tensor.name for tensor in graph.initializer}
        self._inputs = {value.name for value in graph.input} - constants
        self._made = {name for node in graph.node for name in node.output if name}
        self.names = frozenset(self._made | self._inputs)
        self.by = by or ("onnxruntime" if _onnxruntime() else "onnx")

    def run(self, inputs: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        """Return the ``wanted`` values by name.

        Raises:
            ModelError: the inputs are not those of the model, or it cannot be computed.
        """
        for name in inputs:
            if name not in self._inputs:
                raise ModelError(
                    f"the reference has no input '{name}'", at=self.title, hint=did_you_mean(name, self._inputs), code="LB2008"
                )
        missing = sorted(self._inputs - set(inputs))
        if missing:
            raise ModelError(f"the reference has an input '{missing[0]}' that the artifact has not", at=self.title, code="LB2008")
        found = {name: np.asarray(array) for name, array in inputs.items()}
        asked = [name for name in dict.fromkeys(wanted) if name in self._made]
        results = self.evaluator(asked)(dict(found)) if asked else []
        return found | {name: np.asarray(value) for name, value in zip(asked, results, strict=True)}

    def evaluator(self, wanted: Iterable[str] | None = None) -> Evaluate:
        """Return a function from inputs to the ``wanted`` values, the model's own outputs by default.

        Raises:
            ModelError: the model cannot be prepared; the function raises it too.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        outputs = [value.name for value in model.graph.output]
        names = outputs if wanted is None else list(wanted)
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in outputs)
        runtime = _onnxruntime() if self.by == "onnxruntime" else None
        if runtime is None:
            evaluator = _guarded(lambda: onnx.reference.ReferenceEvaluator(model), self.title)
            return lambda inputs: _guarded(lambda: evaluator.run(names, inputs), self.title)
        settings = runtime.SessionOptions()
        settings.log_severity_level = 4  # refusals of made-up inputs are no news
        data, providers = model.SerializeToString(), ["CPUExecutionProvider"]
        session = _guarded(lambda: runtime.InferenceSession(data, settings, providers=providers), self.title)
        return lambda inputs: _guarded(lambda: session.run(names, inputs), self.title)


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - one of two ways
    except ModuleNotFoundError:
        return None
    return onnxruntime


def _guarded(call: Callable[[], Any], title: str) -> Any:
    """Return what ``call`` gives; whatever the reference's software raises is the model's error."""
    try:
        return call()
    except Exception as error:
        text = str(error).strip().splitlines()
        raise ModelError(
            f"the reference cannot be computed: {text[0] if text else type(error).__name__}", at=title, code="LB2008"
        ) from error
