"""Tuples and fusion: the model of two splits and two kernels of several results failed to compile in one run out of ten."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relax

import landbridge as lb
from landbridge.codegen.single_results import hide_items, show_items, slice_parts
from support.kernels import Array

_SHARES = 4


def _split(extent: Any, where: Any) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([2, extent], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            parts = builder.emit(relax.op.split(x, where, axis=-1))
            items = [builder.emit(relax.TupleGetItem(parts, i)) for i in range(len(parts.ty.fields))]
            result = builder.emit_output(relax.Tuple(items))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize("where", [3, [2], [1, 5]], ids=str)
def test_slices_are_the_parts(where: Any) -> None:
    before = _split(7, where)
    after = slice_parts(before)
    assert "R.split" not in relax.transform.DeadCodeElimination(["main"])(after).script()
    assert [str(field) for field in after["main"].ret_ty.fields] == [str(field) for field in before["main"].ret_ty.fields]
    x = np.arange(14, dtype="float32").reshape(2, 7)
    found, expected = (_run(module, x) for module in (after, before))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def _run(module: tvm.IRModule, x: Array) -> list[Array]:
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    return [part.numpy() for part in machine["main"](tvm.runtime.tensor(x))]


def test_a_split_of_an_extent_that_is_not_known_stays() -> None:
    module = _split(tvm.tirx.Var("n", "int64"), [2])
    tvm.ir.assert_structural_equal(slice_parts(module), module)


def test_hidden_items_are_shown_again() -> None:
    module = _split(7, [2])
    hidden = hide_items(module)
    assert not _items(hidden)
    assert _items(module) == 2
    tvm.ir.assert_structural_equal(show_items(hidden), module)


def _items(module: tvm.IRModule) -> int:
    return sum(isinstance(b.value, relax.TupleGetItem) for block in module["main"].body.blocks for b in block.bindings)


def _model() -> onnx.ModelProto:
    nodes, total = [], "x"
    for i in range(_SHARES):
        nodes += [
            helper.make_node("TopK", [f"x{i}", "k"], [f"value{i}", f"place{i}"], name=f"top{i}"),
            helper.make_node("Cast", [f"place{i}"], [f"cast{i}"], name=f"cast{i}", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"value{i}", f"cast{i}"], [f"product{i}"], name=f"times{i}"),
            helper.make_node("Add", [total, f"product{i}"], [f"sum{i}"], name=f"plus{i}"),
        ]
        total = f"sum{i}"
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in ("x", *(f"x{i}" for i in range(_SHARES)))]
    outputs = [helper.make_tensor_value_info(total, TensorProto.FLOAT, [2, 8])]
    graph = helper.make_graph(nodes, "tuples", inputs, outputs, [helper.make_tensor("k", TensorProto.INT64, [1], [8])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_parts_of_several_tuples_meet_in_a_kernel_whatever_the_addresses() -> None:
    random = np.random.default_rng(5)
    inputs = {name: random.standard_normal((2, 8), dtype="float32") for name in ("x", *(f"x{i}" for i in range(_SHARES)))}
    parts = [inputs[f"x{i}"] for i in range(_SHARES)]
    expected = inputs["x"] + sum(-np.sort(-part, axis=1) * np.argsort(-part, axis=1) for part in parts)
    kept = []  # what stays alive moves the next one to other addresses
    for _ in range(10):
        kept.append(lb.compile(lb.from_onnx(_model()), check="off"))
        np.testing.assert_allclose(kept[-1].load().run(inputs)[f"sum{_SHARES - 1}"], expected, rtol=1e-5, atol=1e-5)
