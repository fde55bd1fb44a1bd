"""Element types at the border of an Ascend model: bridged by a cast on the CPU where nothing is lost (or between floats), else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, parser

import landbridge as lb
from landbridge.ir.program import Program
from landbridge.runtime.errors import SignatureError
from landbridge.simulators.ascend.make_om import make_om

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
CODES = {"float": 1, "uint8": 2, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "bool": 9}
VALUES = np.array([[0, 1, 2], [3, 4, 5]])


def numpy_name(dtype: str) -> str:
    return "float32" if dtype == "float" else dtype


def program(given: str, wanted: str) -> Program:
    """A model of ``wanted`` in a program that has ``given``."""
    text = f"{HEAD} ({wanted}[2,3] s) => ({wanted}[2,3] t) {{ t = {'Identity' if wanted == 'bool' else 'Abs'}(s) }}"
    model = lb.ExternModel.from_bytes(make_om(parser.parse_model(text), fp16=False), name="net.om")
    text = f"{HEAD} ({given}[2,3] x) => ({wanted}[2,3] t) {{ s = Identity(x)  t = Cast<to = {CODES[wanted]}>(s) }}"
    return lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["x"], outputs=["t"], by=model)


def run(found: Program, folder: Path, x: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    compiled = lb.compile(found)
    compiled.save(folder / "net.lbr")
    with lb.load(folder / "net.lbr", simulate=["atlas"]) as session:
        return next(iter(session.run({"x": x}).values())), compiled.report


LOSSLESS = [
    *[("int32", "int64"), ("uint8", "int64"), ("bool", "int64"), ("bool", "uint8"), ("bool", "int32")],
    *[("int16", "float"), ("bool", "float"), ("uint8", "int16")],
]


@pytest.mark.parametrize(("given", "wanted"), LOSSLESS)
def test_a_conversion_that_loses_nothing_is_made_on_the_cpu(tmp_path: Path, given: str, wanted: str) -> None:
    x = VALUES.astype(given)
    found, report = run(program(given, wanted), tmp_path, x)
    np.testing.assert_array_equal(found, np.abs(x.astype(numpy_name(wanted))))
    assert [(cast.source, cast.destination) for cast in report.casts] == [(given, numpy_name(wanted))]
    assert {copy.dtype for copy in report.copies} == {numpy_name(wanted)}


@pytest.mark.parametrize("dtype", ["int64", "bool", "int8", "uint8", "int32"])
def test_the_types_themselves_cross_as_they_are(tmp_path: Path, dtype: str) -> None:
    found, report = run(program(dtype, dtype), tmp_path, VALUES.astype(dtype))
    np.testing.assert_array_equal(found, VALUES.astype(dtype))
    assert report.casts == ()


LOSSY = [
    ("int64", "int32"),
    ("int32", "uint8"),
    ("uint8", "bool"),
    ("float", "int64"),
    ("int64", "float"),
    ("int32", "float"),
    ("float", "bool"),
]


@pytest.mark.parametrize(("given", "wanted"), LOSSY)
def test_a_conversion_that_may_lose_something_is_refused_with_the_line_to_write(given: str, wanted: str) -> None:
    with pytest.raises(SignatureError) as caught:
        program(given, wanted)
    source, target = numpy_name(given), numpy_name(wanted)
    assert str(caught.value) == (
        f"g:t: net.om, input 0 's': value 'x' is {source} [2, 3], expected {target} [2, 3]\n  hint: x = lb.astype(x, \"{target}\")"
    )


def test_bfloat16_is_a_float_like_others(tmp_path: Path) -> None:
    text = f"{HEAD} (float[2,3] s) => (float[2,3] t) {{ t = Neg(s) }}"
    blob = make_om(parser.parse_model(text), fp16=False, input_dtype="bfloat16", output_dtype="bfloat16")
    model = lb.ExternModel.from_bytes(blob, name="net.om")
    assert [port.dtype for port in (*model.signature.inputs, *model.signature.outputs)] == ["bfloat16", "bfloat16"]
    outer = f"{HEAD} (float[2,3] x) => (float[2,3] y) {{ s = Relu(x)  t = Neg(s)  y = Abs(t) }}"
    found = lb.replace(lb.from_onnx(parser.parse_model(outer)), inputs=["s"], outputs=["t"], by=model)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    result, report = run(found, tmp_path, x)
    np.testing.assert_array_equal(result, np.maximum(x, 0).astype(ml_dtypes.bfloat16).astype(np.float32))
    assert [(cast.source, cast.destination) for cast in report.casts] == [("float32", "bfloat16"), ("bfloat16", "float32")]
    assert [copy.nbytes for copy in report.copies] == [12, 12]


def test_the_codes_are_onnxs() -> None:
    assert {name.upper(): code for name, code in CODES.items()} == {
        name: TensorProto.DataType.Value(name) for name in map(str.upper, CODES)
    }
