"""Models whose tensors are float16 or bfloat16: half the bytes of float32, and each operator within one rounding of float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import landbridge as lb
from landbridge.codegen.target import resolve_target

Array = NDArray[Any]
_random = np.random.default_rng(25)
TYPES: dict[str, tuple[int, Any, float]] = {
    "float16": (TensorProto.FLOAT16, np.float16, 2.0**-11),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16, 2.0**-8),
    "float32": (TensorProto.FLOAT, np.float32, 2.0**-24),
}
INNER, COLUMNS = 768, 512


def _tensor(name: str, array: Array, dtype: str) -> Any:
    return helper.make_tensor(name, TYPES[dtype][0], array.shape, array.tobytes(), raw=True)


def _model(dtype: str, node: Any, weight: Array, bias: Array) -> lb.Program:
    found = TYPES[dtype][0]
    inputs = [helper.make_tensor_value_info("x", found, ["n", INNER])]
    outputs = [helper.make_tensor_value_info("y", found, ["n", COLUMNS])]
    constants = [_tensor("w", weight, dtype), _tensor("b", bias, dtype)]
    graph = helper.make_graph([node], "g", inputs, outputs, constants)
    return lb.from_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10))


NODES = {
    "matmul": helper.make_node("MatMul", ["x", "w"], ["y"]),
    "gemm": helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", NODES)
def test_products_are_accurate_and_their_weights_stay_small(tmp_path: Path, kind: str, dtype: str) -> None:
    _, numbers, unit = TYPES[dtype]
    x, w, b = (_random.standard_normal(shape).astype(numbers) for shape in ((5, INNER), (INNER, COLUMNS), (COLUMNS,)))
    program = _model(dtype, NODES[kind], np.ascontiguousarray(w.T) if kind == "gemm" else w, b)
    assert not program.fallbacks
    lb.compile(program).save(tmp_path / "net.lbr")
    assert (tmp_path / "net.lbr").stat().st_size < w.size * w.itemsize + 100_000
    wide = [array.astype("float64") for array in (x, w, b)]
    product = wide[0] @ wide[1]
    expected = product + wide[2] if kind == "gemm" else product
    bits = x.view(np.uint16) if dtype == "bfloat16" else x
    for rows in (1, 5):
        with lb.load(tmp_path / "net.lbr") as session:
            found = session.run({"x": bits[:rows]})["y"]
        found = found.view(numbers) if dtype == "bfloat16" else found
        # The product and the sum with the bias are rounded, each by half a unit, after float32 sums of 768 products.
        sums = 770 * 2.0**-24 * (abs(wide[0]) @ abs(wide[1]) + abs(wide[2]))[:rows]
        bound = sums + unit * (abs(product) + abs(expected) + unit)[:rows]
        assert (abs(found.astype("float64") - expected[:rows]) <= bound).all()


def test_an_artifact_for_an_instruction_is_refused_by_name_where_it_is_missing(tmp_path: Path) -> None:
    target = "llvm -mtriple=x86_64-linux-gnu -mcpu=cooperlake"
    flags = Path("/proc/cpuinfo").read_text().split()
    if resolve_target().record.triple != "x86_64-linux-gnu" or "avx512_bf16" in flags:
        pytest.skip("needs an x86-64 machine without AVX512_BF16")
    w, b = (_random.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((INNER, COLUMNS), (COLUMNS,)))
    lb.compile(_model("bfloat16", NODES["matmul"], w, b), target=target).save(tmp_path / "net.lbr")
    with pytest.raises(lb.errors.ArtifactError, match=r"this one lacks .*avx512_bf16"):
        lb.load(tmp_path / "net.lbr")
