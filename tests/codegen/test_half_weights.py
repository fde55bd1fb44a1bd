"""Weights in 16 bits, and products of float16: sums are those of float32, and rounded once."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.compile_kernels import compile_kernels
from landbridge.codegen.half_weights import is_bfloat16, is_float16, kept_as
from landbridge.codegen.pack_weights import packed_columns
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import AARCH64, AARCH64_FP16FML, FLOAT16_TARGETS, X86_64_V3

_random = np.random.default_rng(22)
WEIGHTS: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


@dataclass(frozen=True)
class Product:
    """A product of a parameter and a constant."""

    case: Case
    right: Array

    def bound(self) -> Array:
        """Return by how much each number may be wrong (`landbridge.codegen.pack_weights`)."""
        (x,), count, unit = self.case.inputs, self.right.shape[0] + 1, 2.0**-24
        sums = count * unit / (1 - count * unit) * (abs(x.astype("float64")) @ abs(self.right))
        rounding = np.maximum(2.0**-11 * abs(self.case.expected), 2.0**-25) if x.dtype == np.float16 else 2.0**-149 * count
        return np.asarray(sums + rounding)


def _product(name: str, x: Array, w: Array, named: Any = None, *, cast: bool = False) -> Product:
    """Return the case of the product of ``x`` and ``w``, which the program widens to float32 where it is ``cast``."""

    def make(emit: Any, x: Any) -> Any:
        return op.matmul(x, emit(op.astype(relax.const(w), "float32")) if cast else relax.const(w))

    right = w.astype("float64")
    with np.errstate(all="ignore"):
        return Product(case(name, [x], make, x.astype("float64") @ right, named), right)


def _numbers(dtype: str, *shape: int) -> Array:
    return _random.standard_normal(shape).astype(dtype)


def _products() -> list[Product]:
    found = []
    for i, rows in enumerate((1, 5, 14)):
        for j, inner in enumerate((1, 6, 37)):
            columns = (1, 16, 40, 70, 300)[(2 * i + j) % 5]
            for weights, dtype in WEIGHTS.items():
                x, w = _numbers("float32", rows, inner), _numbers("float32", inner, columns).astype(dtype).astype("float32")
                found.append(_product(f"{weights}_{rows}x{inner}x{columns}", x, w))
            x, w = _numbers("float16", rows, inner), _numbers("float16", inner, columns)
            found.append(_product(f"halves_{rows}x{inner}x{columns}", x, w))
    for dtype in ("float16", "float32"):
        w = _numbers("float16", 19, 90).astype(dtype)
        for rows in (1, 6, 14):
            found.append(_product(f"rows_{dtype}_{rows}", _numbers(dtype, rows, 19), w, {(0, 0): f"n_{dtype}_{rows}"}))
        found.append(_product(f"batch_{dtype}", _numbers(dtype, 2, 3, 5, 19), w, {(0, 0): f"batch_{dtype}"}))
        found.append(
            _product(f"parts_{dtype}", _numbers(dtype, 20, 1700) / np.array(40, dtype), _numbers("float16", 1700, 45).astype(dtype))
        )
    rounded = _numbers("float32", 1700, 64).astype(ml_dtypes.bfloat16).astype("float32")
    found.append(_product("parts_bfloat16", _numbers("float32", 20, 1700), rounded))
    found.append(_product("cast", _numbers("float32", 4, 200), _numbers("float16", 200, 300), cast=True))
    found.append(_product("parallel", _numbers("float16", 130, 260), _numbers("float16", 260, 70)))
    return found


def _special(dtype: str, weights: str, value: float) -> Product:
    x, w = _numbers(dtype, 3, 12), _numbers("float32", 12, 70).astype(WEIGHTS[weights]).astype(dtype)
    w[4, 65] = w[5, 2] = value
    return _product(f"special_{dtype}_{weights}_{value}", x, w)


SPECIALS = [
    *(_special("float32", "bfloat16", value) for value in (np.inf, -np.inf, np.nan, 2.0**-133, -3e38)),
    *(_special(dtype, "float16", value) for dtype in ("float16", "float32") for value in (np.inf, np.nan, 2.0**-24, -65504)),
    _product("special_sum", np.full((2, 3), 65504, "float16"), np.full((3, 20), 3, "float16")),
    _product("special_denormals", np.full((2, 3), 2.0**-24, "float16"), np.full((3, 20), 0.5, "float16")),
]

PRODUCTS = [*_products(), *SPECIALS]


@pytest.fixture(scope="module", params=FLOAT16_TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute([one.case for one in PRODUCTS], request.param)


@pytest.mark.parametrize("one", PRODUCTS, ids=lambda one: one.case.name)
def test_sums_are_within_the_bound(one: Product, results: dict[str, Array]) -> None:
    found, dtype = results[one.case.name], one.case.inputs[0].dtype
    with np.errstate(over="ignore", invalid="ignore"):
        expected, errors = one.case.expected.astype(dtype), abs(found.astype("float64") - one.case.expected)
    assert found.dtype == dtype
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, found), np.where(finite, 0, expected))
    with np.errstate(invalid="ignore"):
        assert (errors[finite] <= one.bound()[finite]).all()


AVX512 = "llvm -mtriple=x86_64-linux-gnu -mcpu=skylake-avx512"


@pytest.mark.parametrize(
    ("target", "weights", "panel", "dtype"),
    [
        (AVX512, "float16", 64, "float16"),
        (X86_64_V3, "float16", 16, "float16"),
        (AARCH64, "float16", 16, "float16"),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64", "float16", 16, "float32"),
        (AVX512, "bfloat16", 64, "uint32"),
        (AVX512, "bfloat16", 16, "uint16"),
        (X86_64_V3, "bfloat16", 16, "uint32"),
        (AVX512, "float32", 64, "float32"),
    ],
)
def test_weights_take_16_bits_where_these_hold_them(target: str, weights: str, panel: int, dtype: str) -> None:
    matrix = _numbers("float32", 6, 64).astype(WEIGHTS[weights]).astype("float32")
    array = kept_as(matrix, panel, resolve_target(target).tvm).array(packed_columns(matrix, panel))
    assert array.dtype == dtype
    assert array.nbytes == matrix.nbytes // (1 if dtype == "float32" else 2)


def test_what_16_bits_hold() -> None:
    exact = np.array([0, -0.0, 1.5, 2.0**-24, 65504, -np.inf], "float32")
    assert is_float16(exact)
    assert not any(is_float16(np.array([number], "float32")) for number in (2.0**-25, 65536, 1 + 2.0**-11, np.nan))
    assert is_bfloat16(np.array([3e38, 2.0**-133], ml_dtypes.bfloat16).astype("float32"))
    assert is_bfloat16(np.array([np.inf, 0, -1], "float32"))
    assert not is_bfloat16(np.array([1 + 2.0**-8], "float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_no_weight_is_widened_in_memory(dtype: str) -> None:
    """Also where the program itself says so; what a kernel reads has 16 bits."""
    weight = relax.const(_numbers("float16", 300, 200))
    target = resolve_target(X86_64_V3).tvm
    kernels = kernels_of(
        lambda emit, x: op.matmul(x, weight if dtype == "float16" else emit(op.astype(weight, "float32"))), [(1, 300)], target, dtype
    )
    (kernel,) = (one for name, one in kernels.items() if "matmul" in name)
    assert str(kernel.params[1].ty.dtype) == "float16"


def test_products_of_float16_are_added_by_the_instruction_for_it(tmp_path: Path) -> None:
    if shutil.which("llvm-objdump") is None:
        pytest.skip("needs apt install llvm")
    target = resolve_target(AARCH64_FP16FML).tvm
    weight = relax.const(_numbers("float16", 64, 48))
    kernels = kernels_of(lambda emit, x: op.matmul(x, weight), [(24, 64)], target, "float16")
    assert not any(name.startswith("cast") for name in kernels)
    text = ""
    for data in compile_kernels(tvm.IRModule(kernels), target).objects:
        (tmp_path / "kernel.o").write_bytes(data)
        command = ["llvm-objdump", "-d", "--mattr=+fp16fml", str(tmp_path / "kernel.o")]
        text += subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert text.count("\tfmlal\t") >= 16
    assert "fmla\t" not in text
