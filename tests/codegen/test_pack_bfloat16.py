"""Products of bfloat16 with constant weights: right within the stated bound on every target, and by the instruction where there is one.

No machine that runs these tests need have ``vdpbf16ps``: what it does is done by plain arithmetic in the same kernels, and that kernels for
it have it is seen in their code. ``bfdot`` is executed under emulation.
"""

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

from landbridge.codegen import pack_bfloat16
from landbridge.codegen.compile_kernels import compile_kernels
from landbridge.codegen.schedules import integer_product
from landbridge.codegen.schedules.dots import Dots, bfloat16_dots_of
from landbridge.codegen.schedules.vectors import vectors_of
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import AARCH64, AARCH64_BF16, BFLOAT16_TARGETS, X86_64_V3

COOPERLAKE = "llvm -mtriple=x86_64-linux-gnu -mcpu=cooperlake"
_random = np.random.default_rng(21)


@dataclass(frozen=True)
class Product:
    """The float32 product of a parameter and a constant, both of bfloat16."""

    case: Case
    left: Array
    right: Array

    def bound(self, unit: float) -> Array:
        """Return by how much each sum may be wrong (`landbridge.codegen.schedules.dots`)."""
        x, w = abs(self.left.astype("float64")), abs(self.right.astype("float64"))
        count = w.shape[0]
        with np.errstate(invalid="ignore"):
            tiny = 2.0**-126 * (2 * count + x.sum(-1, keepdims=True) + w.sum(0))
            return np.asarray(count * unit / (1 - count * unit) * (x @ w) + tiny)


def _numbers(*shape: int) -> Array:
    return _random.standard_normal(shape).astype(ml_dtypes.bfloat16)


def _product(name: str, x: Array, w: Array, named: Any = None) -> Product:
    def make(emit: Any, x: Any) -> Any:
        return op.matmul(emit(op.astype(x, "float32")), relax.const(w.astype("float32")))

    with np.errstate(all="ignore"):
        expected = x.astype("float64") @ w.astype("float64")
    return Product(case(name, [x], make, expected, named), x, w)


def _products() -> list[Product]:
    found = []
    for i, rows in enumerate((1, 2, 7, 13)):
        for j, inner in enumerate((1, 2, 5, 32, 37, 70)):
            columns = (1, 16, 33, 70)[(i + j) % 4]
            found.append(_product(f"{rows}x{inner}x{columns}", _numbers(rows, inner), _numbers(inner, columns)))
    found.append(_product("wide_row", _numbers(1, 40), _numbers(40, 300)))
    found.append(_product("long", _numbers(20, 1700), _numbers(1700, 45)))
    found.append(_product("parallel", _numbers(130, 260), _numbers(260, 70)))
    found.append(_product("batch", _numbers(2, 3, 5, 12), _numbers(12, 40), {(0, 0): "batch"}))
    for inner in (36, 41):
        for rows in (1, 6, 14):
            found.append(_product(f"named_{rows}x{inner}", _numbers(rows, inner), _numbers(inner, 45), {(0, 0): f"n{rows}_{inner}"}))
    return found


def _special(name: str, value: float, weight: float, inner: int = 10) -> Product:
    """Return a product with a special number in the last place of a row and the first of a column."""
    x, w = _numbers(3, inner), _numbers(inner, 35)
    x[1, -1], w[0, 34] = value, weight
    return _product(name, x, w)


_TINY = 2.0**-133
SPECIALS = [
    *(_special(f"infinity_{inner}", np.inf, -np.inf, inner) for inner in (10, 11)),
    *(_special(f"nan_{inner}", np.nan, np.nan, inner) for inner in (10, 11)),
    _product("infinity_times_zero", np.full((1, 3), np.inf, ml_dtypes.bfloat16), np.zeros((3, 20), ml_dtypes.bfloat16)),
    _product("overflow", np.full((2, 4), 3e38, ml_dtypes.bfloat16), np.full((4, 20), -3e38, ml_dtypes.bfloat16)),
    _special("denormal", _TINY, _TINY),
    _product("denormals", np.full((2, 6), _TINY, ml_dtypes.bfloat16), np.full((6, 20), 2.0**100, ml_dtypes.bfloat16)),
]

PRODUCTS = [*_products(), *SPECIALS]


@pytest.fixture(scope="module", params=BFLOAT16_TARGETS)
def results(request: pytest.FixtureRequest) -> tuple[float, dict[str, Array]]:
    unit = 2.0**-23 if request.param == AARCH64_BF16 else 2.0**-24
    return unit, compute([one.case for one in PRODUCTS], request.param)


@pytest.fixture(scope="module")
def emulated() -> dict[str, Array]:
    """What kernels over pairs give on this machine, the instruction done by plain arithmetic."""

    def plain(target: Any) -> Dots:
        return Dots(2, "bfloat16", "bfloat16", vectors_of(target), "", "float32")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDBRIDGE_CACHE", "")
        patch.setattr(pack_bfloat16, "bfloat16_dots_of", plain)
        patch.setattr(integer_product, "bfloat16_dots_of", plain)
        return compute([one.case for one in PRODUCTS])


def _check(one: Product, found: Array, unit: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        expected, errors = one.case.expected.astype("float32"), abs(found - one.case.expected)
    assert found.dtype == np.float32
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, found), np.where(finite, 0, expected))
    assert (errors[finite] <= one.bound(unit)[finite]).all()


@pytest.mark.parametrize("one", PRODUCTS, ids=lambda one: one.case.name)
def test_sums_are_within_the_bound(one: Product, results: tuple[float, dict[str, Array]]) -> None:
    unit, found = results
    _check(one, found[one.case.name], unit)


@pytest.mark.parametrize("one", PRODUCTS, ids=lambda one: one.case.name)
def test_kernels_over_pairs_are_right_with_plain_arithmetic(one: Product, emulated: dict[str, Array]) -> None:
    _check(one, emulated[one.case.name], 2.0**-24)


def _kernels(target: Any, *, weights: Array | None = None, dtype: str = "bfloat16") -> dict[str, Any]:
    matrix = relax.const((_numbers(64, 48) if weights is None else weights).astype("float32"))
    return kernels_of(lambda emit, x: op.matmul(emit(op.astype(x, "float32")), matrix), [(24, 64)], target, dtype)


@pytest.mark.parametrize(
    ("target", "intrinsic"),
    [
        (COOPERLAKE, "llvm.x86.avx512bf16.dpbf16ps.512"),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v4 -mattr=+avx512bf16", "llvm.x86.avx512bf16.dpbf16ps.512"),
        (AARCH64_BF16, "llvm.aarch64.neon.bfdot.v4f32.v8bf16"),
        (AARCH64, None),
        (X86_64_V3, None),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=cascadelake", None),
    ],
)
def test_the_target_decides_the_instruction(target: str, intrinsic: str | None) -> None:
    found = bfloat16_dots_of(resolve_target(target).tvm)
    assert (None if found is None else found.intrinsic) == intrinsic
    assert ("bfloat16_matmul" in _kernels(resolve_target(target).tvm)) == (intrinsic is not None)


@pytest.mark.parametrize(("target", "instruction"), [(COOPERLAKE, "vdpbf16ps"), (AARCH64_BF16, "bfdot")])
def test_the_instruction_is_in_the_code(target: str, instruction: str, tmp_path: Path) -> None:
    if shutil.which("llvm-objdump") is None:
        pytest.skip("needs apt install llvm")
    tvm_target = resolve_target(target).tvm
    text = ""
    for data in compile_kernels(tvm.IRModule(_kernels(tvm_target)), tvm_target).objects:
        (tmp_path / "kernel.o").write_bytes(data)
        command = ["llvm-objdump", "-d", *(["--mattr=+bf16"] if instruction == "bfdot" else []), str(tmp_path / "kernel.o")]
        text += subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert text.count(f"\t{instruction}\t") >= 6  # a tile of some rows, and not one that is called for each
    assert "landbridge_bfloat16_pair>" not in text


def test_artifacts_say_that_they_need_it() -> None:
    assert "avx512_bf16" in resolve_target(COOPERLAKE).record.cpu_features
    assert "bf16" in resolve_target(AARCH64_BF16).record.cpu_features


def test_products_of_other_numbers_are_left_alone() -> None:
    target = resolve_target(COOPERLAKE).tvm
    assert "bfloat16_matmul" not in _kernels(target, dtype="float16")
    assert "bfloat16_matmul" not in _kernels(target, weights=np.full((64, 48), 1 + 2.0**-8))
