"""Casts to and from bfloat16 that the compiler inserts are right for every value, and in whatever they are fused with."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import parser

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


@pytest.mark.parametrize("outer", ["float", "double", "float16"])
def test_floats_go_through_bfloat16_and_back(tmp_path: Path, outer: str) -> None:
    """Every bfloat16, values halfway between two of them, and what lies next to these."""
    dtype = {"float": "float32", "double": "float64", "float16": "float16"}[outer]
    exact = np.arange(1 << 16, dtype=np.uint32) << 16
    bits = np.concatenate([exact, exact | 0x8000, exact | 0x7FFF, exact | 0x8001])
    with np.errstate(over="ignore", invalid="ignore"):
        x = bits.view(np.float32).astype(dtype)
        expected = x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(dtype)
    shape = f"[{x.size}]"
    inner = parser.parse_model(f"{HEAD} (float{shape} s) => (float{shape} t) {{ t = Neg(s) }}")
    model = lb.ExternModel.from_bytes(make_om(inner, fp16=False, input_dtype="bfloat16", output_dtype="bfloat16"), name="net.om")
    text = f"{HEAD} ({outer}{shape} x) => ({outer}{shape} y) {{ s = Neg(x)  t = Neg(s)  y = Neg(t) }}"
    program = lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["s"], outputs=["t"], by=model)
    lb.compile(program).save(tmp_path / "net.lbr")
    with lb.load(tmp_path / "net.lbr", simulate=["atlas"]) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], -expected)
