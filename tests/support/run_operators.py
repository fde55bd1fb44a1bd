"""Many one-operator models as one program: compiled once, each result beside what a reference says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import landbridge as lb
from landbridge.runtime.dtypes import holder, is_packed

Array = NDArray[Any]


@dataclass(frozen=True)
class One:
    """One operator.

    Attributes:
        name: distinct among those that run together.
        operator: its type.
        inputs: arrays; None for an input that is left out.
        outputs: what the reference says; dtypes and shapes are declared in the model.
        constants: the inputs, by index, that are constants of the model and not given when it runs.
        attributes: of the node.
        domain: of the operator.
    """

    name: str
    operator: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    constants: Sequence[int] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""


def evaluated(operator: str, inputs: Sequence[Any], opset: int = 23, outputs: int = 1, domain: str = "", **attributes: Any) -> list[Array]:
    """Return what onnx's reference evaluator makes of one operator."""
    names = [f"i{n}" if value is not None else "" for n, value in enumerate(inputs)]
    node = helper.make_node(operator, names, [f"o{n}" for n in range(outputs)], domain=domain, **attributes)
    given = {name: value for name, value in zip(names, inputs, strict=True) if name}
    infos = [_info(name, np.asarray(value)) for name, value in given.items()]
    graph = helper.make_graph([node], "one", infos, [helper.make_empty_tensor_value_info(f"o{n}") for n in range(outputs)])
    model = helper.make_model(graph, opset_imports=_opsets(opset, [domain]))
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, given)]


def run_all(cases: Sequence[One], opset: int = 23) -> dict[str, list[Array]]:
    """Return the results by name; every operator must be native.

    Raises:
        AssertionError: one of them is not.
    """
    program = lb.from_onnx(_model(cases, opset))
    assert not program.fallbacks, [(found.nodes, found.reason) for found in program.fallbacks.values()]
    feeds = {
        f"{case.name}_i{n}": np.asarray(value)
        for case in cases
        for n, value in enumerate(case.inputs)
        if value is not None and n not in case.constants
    }
    with lb.compile(program).load() as session:
        dtypes = {info.name: info.dtype for info in (*session.inputs, *session.outputs)}
        found = session.run({name: _bits(value, dtypes[name]) for name, value in feeds.items() if name in dtypes})
        return {case.name: [_typed(found[f"{case.name}_o{n}"], expected) for n, expected in enumerate(case.outputs)] for case in cases}


def check(cases: Sequence[One], opset: int = 23, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Assert that every result has the dtype, the shape and the values that its case expects, NaN for NaN."""
    found = run_all(cases, opset)
    for case in cases:
        for ours, theirs in zip(found[case.name], case.outputs, strict=True):
            assert ours.dtype == theirs.dtype, case.name
            assert ours.shape == theirs.shape, case.name
            left, right = (array if array.dtype.kind in "biuf" else array.astype(np.float32) for array in (ours, theirs))
            np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, err_msg=case.name)


def _model(cases: Sequence[One], opset: int) -> Any:
    nodes, inputs, outputs, constants = [], [], [], []
    for case in cases:
        names = ["" if value is None else f"{case.name}_i{n}" for n, value in enumerate(case.inputs)]
        results = [f"{case.name}_o{n}" for n in range(len(case.outputs))]
        nodes.append(helper.make_node(case.operator, names, results, name=case.name, domain=case.domain, **case.attributes))
        for n, (name, value) in enumerate(zip(names, case.inputs, strict=True)):
            if name and n in case.constants:
                constants.append(numpy_helper.from_array(np.asarray(value), name))
            elif name:
                inputs.append(_info(name, np.asarray(value)))
        outputs += [_info(name, value) for name, value in zip(results, case.outputs, strict=True)]
    graph = helper.make_graph(nodes, "operators", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=_opsets(opset, [case.domain for case in cases]), ir_version=11)


def _opsets(opset: int, domains: Sequence[str]) -> list[Any]:
    return [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in dict.fromkeys(domains) if domain)]


def _info(name: str, array: Array) -> Any:
    return helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _bits(array: Array, dtype: str) -> Array:
    """Return an array as a session takes it: narrow types as unsigned numbers of the same bits."""
    return array if str(array.dtype) == str(holder(dtype)) else array.view(holder(dtype))


def _typed(array: Array, expected: Array) -> Array:
    """Return a result as an array of the type that is expected of it."""
    if array.dtype == expected.dtype:
        return array
    dtype = str(expected.dtype)
    if not is_packed(dtype):
        return array.view(expected.dtype)
    return array.view(np.int8).astype(expected.dtype) if dtype.startswith("int") else array.view(expected.dtype)
