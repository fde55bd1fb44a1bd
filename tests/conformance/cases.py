"""The tests that the onnx package brings: what each gives a model, and what must come out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "light", "simple", "pytorch-operator", "pytorch-converted")
"""What there is, by the name that `collect` takes."""

_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass(frozen=True)
class Case:
    """One test.

    Attributes:
        name: what onnx calls it; unique within its kind.
        kind: one of `KINDS`.
        source: the model, or the file that has it.
        data: pairs of inputs and outputs, or the folder that has them, or None where inputs are made up.
        rtol: the relative tolerance.
        atol: the absolute tolerance.
    """

    name: str
    kind: str
    source: Any
    data: Any
    rtol: float
    atol: float

    def model(self) -> Any:
        """Return the `ModelProto`."""
        return onnx.load(self.source) if isinstance(self.source, Path) else self.source

    def data_sets(self, model: Any) -> list[tuple[list[Any], list[Any]]]:
        """Return pairs of inputs and expected outputs: arrays, lists for sequences, None for what is absent."""
        if self.kind == "light":
            inputs = [Runner.generate_dummy_data(value) for value in _inputs(model)]
            return [(inputs, [_read(self.data, model.graph.output[0])])]
        if isinstance(self.data, Path):
            return [_read_folder(folder, model) for folder in sorted(self.data.glob("test_data_set_*"))]
        return [([_value(item) for item in inputs], [_value(item) for item in outputs]) for inputs, outputs in self.data]


def collect(kinds: Iterable[str] = KINDS) -> list[Case]:
    """Return all cases of some kinds."""
    found: list[Case] = []
    for kind in kinds:
        if kind == "node":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tests compute infinities on purpose
                found += [_node_case(case) for case in node_cases.collect_testcases(None)]
        elif kind == "light":
            models = sorted((_DATA / "light").glob("light_*.onnx"))
            found += [Case(path.stem, kind, path, path.with_name(f"{path.stem}_output_0.pb"), 1e-3, 1e-5) for path in models]
        else:
            found += [_folder_case(case, kind) for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name)]
    return found


def collect_operators(modules: Sequence[str]) -> list[Case]:
    """Return the node tests in some modules of ``onnx.backend.test.case.node``, and perhaps others; quicker than all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            import_module(f"onnx.backend.test.case.node.{module}")
    return [_node_case(case) for case in node_cases._NodeTestCases]


def _node_case(case: Any) -> Case:
    return Case(case.name, "node", case.model, case.data_sets, max(case.rtol, 1e-3), max(case.atol, 1e-5))


def _folder_case(case: Any, kind: str) -> Case:
    folder = Path(case.model_dir)
    return Case(case.name, kind, folder / "model.onnx", folder, max(case.rtol, 1e-3), max(case.atol, 1e-5))


def _inputs(model: Any) -> list[Any]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _read_folder(folder: Path, model: Any) -> tuple[list[Any], list[Any]]:
    def read(stem: str, values: Sequence[Any]) -> list[Any]:
        count = len(list(folder.glob(f"{stem}_*.pb")))
        return [_read(folder / f"{stem}_{index}.pb", value) for index, value in zip(range(count), values, strict=False)]

    return read("input", model.graph.input), read("output", model.graph.output)


def _read(path: Path, value: Any) -> Any:
    data, kind = path.read_bytes(), value.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _value(item: Any) -> Any:
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    return item if item is None or isinstance(item, list) else np.asarray(item)
