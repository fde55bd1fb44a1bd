"""Take one case through the whole compiler and through ONNX Runtime, and say how it went."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx.helper import np_dtype_to_tensor_dtype

import landbridge as lb
from conformance.cases import Case
from landbridge.ir.body import Body
from landbridge.runtime.dtypes import holder, is_dtype, is_packed
from landbridge.runtime.errors import BugError, LandbridgeError
from landbridge.runtime.vendors import registry

RIGHT = ("native", "partly", "fallback")
"""The verdicts on a right result, the best first: all native, partly by fallback, all by fallback."""

VERDICTS = (*RIGHT, "random", "refused", "wrong", "failed", "crashed", "hung")
"""All verdicts, the best first. ``random``: only types and shapes can be compared, and they are right."""

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")

_TWO_PLACES = {"bfloat16": 2**-6, "float16": 2**-9}
"""Two units in the last place, as relative tolerances. That is what onnx's own runner allows bfloat16; what it expects of float16 was
rounded at every step, and the exact result is as far from it."""


@dataclass(frozen=True)
class Outcome:
    """How a case went.

    Attributes:
        name: of the case.
        kind: of the case.
        verdict: one of `VERDICTS`.
        reason: why it is not native, or not right.
        ort: what ONNX Runtime makes of it: "right", "random", or what is wrong.
        elapsed_s: seconds, without ONNX Runtime.
    """

    name: str
    kind: str
    verdict: str
    reason: str = ""
    ort: str = ""
    elapsed_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def preload() -> None:
    """Import all that a case may need, so that forked children need not."""
    for name in lb.__all__:
        getattr(lb, name)
    for name in ("landbridge.runtime.vendors.onnxruntime.driver", "onnx.reference", "ml_dtypes"):
        import_module(name)
    registry.vendors()
    gc.freeze()  # a collection in a child would write to, and so copy, all that the parent has


def run_case(case: Case) -> tuple[str, str]:
    """Return the verdict on a case and its reason."""
    model = case.model()
    try:
        compiled = lb.compile(lb.from_onnx(model, name=case.name))
        problem = _run(case, model, compiled)
    except BugError as error:
        return "failed", _line(error)
    except LandbridgeError as error:
        return "refused", _line(error)
    except Exception as error:  # whatever else comes out is a fault of the compiler
        return "failed", f"{type(error).__name__}: {_line(error)}"
    reasons = "; ".join(dict.fromkeys(entry.reason for entry in compiled.report.fallbacks))
    if problem:
        return "wrong", f"{problem} ({'native' if not reasons else f'fallback: {reasons}'})"
    if _is_random(model):
        return "random", reasons
    if not compiled.report.fallbacks:
        return "native", ""
    return ("partly" if _has_native(compiled) else "fallback"), reasons


def run_ort(case: Case) -> str:
    """Return "right", or what ONNX Runtime makes of the case."""
    model = case.model()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        for inputs, expected in case.data_sets(model):
            feeds = {name: _to_ort(value) for name, value in zip(names, _given(model, inputs), strict=True) if value is not None}
            problem = difference(session.run(None, feeds), expected, case, is_random=_is_random(model))
            if problem:
                return f"wrong: {problem}"
    except Exception as error:  # the classes of ONNX Runtime's exceptions are not public
        return f"refused: {_line(error)}"
    return "right"


def difference(found: Sequence[Any], expected: Sequence[Any], case: Case, *, is_random: bool) -> str:
    """Return the first difference of results from what is expected, or ""."""
    if len(found) != len(expected):
        return f"{len(found)} outputs, expected {len(expected)}"
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        problem = _difference(ours, theirs, case, is_random=is_random)
        if problem:
            return f"output {index}: {problem}"
    return ""


def _difference(ours: Any, theirs: Any, case: Case, *, is_random: bool) -> str:
    if isinstance(theirs, list):
        return difference(ours, theirs, case, is_random=is_random)
    if theirs is None or ours is None:
        return "" if ours is theirs else "one is absent"
    if ours.dtype != theirs.dtype and not {ours.dtype.kind, theirs.dtype.kind} <= set("OUST"):
        return f"{ours.dtype}, expected {theirs.dtype}"
    if ours.shape != theirs.shape:
        return f"shape {list(ours.shape)}, expected {list(theirs.shape)}"
    if is_random:
        return ""
    if theirs.dtype.kind in "OUST":
        return "" if [str(text) for text in ours.flat] == [str(text) for text in theirs.flat] else "other strings"
    rtol = max(case.rtol, _TWO_PLACES.get(theirs.dtype.name, 0))
    left, right = (array if array.dtype.kind in "biufc" else array.astype(np.float32) for array in (ours, theirs))
    close = np.isclose(left, right, rtol=rtol, atol=case.atol, equal_nan=True)
    if close.all():
        return ""
    first = tuple(int(i) for i in np.argwhere(~close)[0])
    return f"{int((~close).sum())} of {close.size} values differ, the first at {list(first)}: {left[first]}, expected {right[first]}"


def _run(case: Case, model: Any, compiled: Any) -> str:
    """Return what is wrong with the results of the saved and loaded artifact, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.lbr"
        compiled.save(path)
        with lb.load(path) as session:
            for inputs, expected in case.data_sets(model):
                feeds = {info.name: _bits(value, info.dtype) for info, value in zip(session.inputs, _given(model, inputs), strict=True)}
                results = session.run(feeds)
                found = [_typed(results[info.name], info.dtype) for info in session.outputs]
                problem = difference(found, expected, case, is_random=_is_random(model))
                if problem:
                    return problem
    return ""


def _given(model: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the inputs without those that only stand in for initialisers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    given = [value for port, value in zip(model.graph.input, inputs, strict=False) if port.name not in constants]
    return given if constants and len(inputs) == len(model.graph.input) else list(inputs)


def _bits(value: Any, dtype: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.name == dtype and is_dtype(dtype):
        return value.view(holder(dtype)) if value.dtype != holder(dtype) else value
    return value


def _typed(array: Any, dtype: str) -> Any:
    return array.view(getattr(import_module("ml_dtypes"), dtype)) if is_dtype(dtype) and array.dtype.name != dtype else array


def _to_ort(value: Any) -> Any:
    if isinstance(value, np.ndarray) and is_dtype(value.dtype.name) and is_packed(value.dtype.name):
        raise TypeError(f"its Python interface has no arrays of {value.dtype.name}")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufcOUST":
        bits = value.view(np.uint16 if value.dtype.itemsize == 2 else np.uint8)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, np_dtype_to_tensor_dtype(value.dtype))
    return value


def _has_native(compiled: Any) -> bool:
    """Return whether anything but calls of offline models computes."""
    names = {getattr(binding.value.op, "name", "") for binding in Body.of(compiled.program.module).bindings if hasattr(binding.value, "op")}
    return bool(names - {"relax.call_dps_packed", "relax.to_vdevice"})


def _is_random(model: Any) -> bool:
    return any(node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2) for node in _nodes(model))


def _nodes(model: Any) -> list[Any]:
    return [*model.graph.node, *(node for function in model.functions for node in function.node)]


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " | ".join(lines[:3])[:300] if lines else type(error).__name__


def counts(outcomes: Sequence[Outcome]) -> Mapping[str, int]:
    """Return how many outcomes have each verdict."""
    return {verdict: sum(outcome.verdict == verdict for outcome in outcomes) for verdict in VERDICTS}
