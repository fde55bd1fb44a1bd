from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, tirx, topi
from tvm.relax import op

from landbridge.codegen import build, unlowerable
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import Lowered, lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.ir.program import ExternModel
from landbridge.runtime.errors import UnsupportedError
from support.host_library import HostRun
from support.placed_programs import build_main, call_model, placed, signature

TARGET = tvm.target.Target({"kind": "llvm"})


def _lowered(make: Any, shape: Any = (4, 6)) -> Lowered:
    graph = read_graph(placed(build_main({"x": (shape, "float32")}, make)))
    return lower(graph, schedule_steps(graph), TARGET)


def _calls(lowered: Lowered) -> list[str]:
    return [call.kernel for stage in lowered.stages for call in stage.calls]


def test_a_chain_of_elementwise_operators_is_one_kernel() -> None:
    lowered = _lowered(lambda emit, x: [emit(op.exp(emit(op.negative(emit(op.add(x, x))))))])
    assert len(_calls(lowered)) == 1
    assert [g.name_hint for g in lowered.kernels.functions] == _calls(lowered)


def test_equal_operators_share_a_kernel() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        for _ in range(3):
            x = emit(op.nn.softmax(x))
        return [x]

    lowered = _lowered(make)
    assert len(_calls(lowered)) == 3
    assert len(lowered.kernels.functions) == 1


def test_a_reshape_between_kernels_costs_no_kernel() -> None:
    lowered = _lowered(lambda emit, x: [emit(op.exp(emit(op.reshape(emit(op.nn.softmax(x)), (24,)))))])
    assert len(_calls(lowered)) == 2
    assert len(lowered.same) == 1


def test_what_is_equal_is_computed_once() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        first, second = (emit(op.nn.softmax(emit(op.matmul(x, x)))) for _ in range(2))
        return [emit(op.matmul(first, second))]

    assert len(_calls(_lowered(make, (4, 4)))) == 3  # a product, a softmax, the product of the softmax with itself


def test_what_nobody_needs_is_not_computed() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        emit(op.exp(x))
        return [emit(op.negative(x))]

    assert _calls(_lowered(make)) == ["tir_negative"]


def test_equal_work_is_done_once() -> None:
    lowered = _lowered(lambda emit, x: [emit(op.exp(x)), emit(op.exp(x))])
    assert len(_calls(lowered)) == 1
    assert lowered.same == {2: 1}


def test_a_result_that_turns_out_constant_is_one() -> None:
    lowered = _lowered(lambda emit, x: [emit(op.add(relax.const([1.0, 2.0]), relax.const([3.0, 4.0]))), x])
    assert _calls(lowered) == []
    (_, index), _ = lowered.graph.outputs
    constant = lowered.graph.values[index].constant
    assert constant is not None
    assert constant.tolist() == [4.0, 6.0]


def test_sizes_that_no_tensor_tells_are_arguments() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        doubled = x.ty.shape[0] * tirx.IntImm("int64", 2)
        return [emit(op.full((doubled, 3), relax.const(1.0), "float32"))]

    (stage,) = _lowered(make, ("n", 6)).stages
    (call,) = stage.calls
    assert [argument.size for argument in (*call.arguments, *call.scalars)] == ["n"]  # type: ignore[union-attr]  # they are scalars


def _sorting(emit: Any, x: Any) -> list[Any]:
    return [emit(op.sort(emit(op.exp(x), "e")), "s"), emit(op.cumsum(x, axis=0), "c")]


def test_all_operators_without_native_code_are_named() -> None:
    program = placed(build_main({"x": ((4, 6), "float32")}, _sorting), names={"s": "/post/sorted"})
    with pytest.raises(UnsupportedError) as caught:
        build(program, name="model")
    assert str(caught.value) == "no native code for '/post/sorted' (sort), 'c' (cumsum)\n  hint: let these run in a fallback region"


def test_operators_without_native_code_can_be_asked_for() -> None:
    program = placed(build_main({"x": ((4, 6), "float32")}, _sorting), names={"s": "/post/sorted"})
    assert unlowerable(program) == (("/post/sorted", "sort"), ("c", "cumsum"))
    assert unlowerable(placed(build_main({"x": ((4,), "float32")}, lambda emit, x: [emit(op.exp(x))]))) == ()


def test_an_operator_on_a_late_value_is_refused_by_name() -> None:
    model = ExternModel("onnxruntime", b"onnx", signature([(4, 6)], [("k", 2)], dtype="int64"))

    def make(emit: Any, x: Any) -> list[Any]:
        late = emit(call_model("m", [x], relax.TensorType([tirx.Var("k", "int64"), 2], "int64")))
        return [emit(op.add(late, late), "sum")]

    program = placed(build_main({"x": ((4, 6), "float32")}, make), {"m": (model, "cpu")})
    assert unlowerable(program) == (("sum", "add on a shape that depends on the data"),)
    with pytest.raises(UnsupportedError, match="no native code for 'sum' \\(add on a shape that depends on the data\\)"):
        build(program, name="model")


def test_an_operator_on_which_tvm_fails_is_named() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        image = emit(op.reshape(emit(op.exp(x)), (1, 2, 3, 4)))
        return [emit(op.image.resize2d(image, (6, 8), layout="CHWN"), "large")]

    program = placed(build_main({"x": ((4, 6), "float32")}, make), names={"large": "/up"})
    assert unlowerable(program) == (("/up", "image.resize2d: CHWN layout is not supported."),)


def test_functions_of_the_program_are_kernels_too() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4, 6], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            summed = builder.emit_te(topi.cumsum, builder.emit(op.exp(x)), 1)
            result = builder.emit_output(relax.Tuple([builder.emit(op.negative(summed))]))
        builder.emit_func_output(result)
    artifact = build(placed(builder.get(), outputs=["y"]), name="model")
    array = np.linspace(0, 1, 24, dtype="float32").reshape(4, 6)
    np.testing.assert_allclose(HostRun(artifact)(x=array)["y"], -np.exp(array).cumsum(1), rtol=1e-5)
