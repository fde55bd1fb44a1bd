"""Products and convolutions of 8-bit integers, exactly, for every instruction that adds up several products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.dots import dots_of
from landbridge.codegen.schedules.integer_product import IntegerProduct
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import AARCH64, AARCH64_DOTPROD, AVX512_WITHOUT_VNNI, INTEGER_TARGETS, X86_64_V3, OnTargets

VNNI = "llvm -mtriple=x86_64-linux-gnu -mcpu=cascadelake"
_random = np.random.default_rng(9)


def _numbers(dtype: str, *shape: int) -> Array:
    kind = np.iinfo(dtype)
    return _random.integers(kind.min, kind.max + 1, shape).astype(dtype)


def _extremes(dtype: str, *shape: int, highest: bool) -> Array:
    kind = np.iinfo(dtype)
    return np.full(shape, kind.max if highest else kind.min, dtype)


def _wide(array: Array) -> Array:
    return array.astype("int32")


def _less(emit: Any, data: Any, point: Any) -> Any:
    """Return data as int32 less a zero point: an array, a parameter of 8 bits, or None."""
    wide = emit(op.astype(data, "int32"))
    if point is None:
        return wide
    return emit(op.subtract(wide, relax.const(_wide(point)) if isinstance(point, np.ndarray) else emit(op.astype(point, "int32"))))


def _product(
    name: str, x: Array, w: Array, a: Array | None = None, b: Array | None = None, named: Any = None, *, dynamic: bool = False
) -> Case:
    """Return the case of ``(x - a) @ (w - b)`` with a constant ``w``; ``a`` is a parameter where it is ``dynamic``."""
    zero = np.int32(0)
    expected = (_wide(x) - (zero if a is None else _wide(a))) @ (_wide(w) - (zero if b is None else _wide(b)))

    def make(emit: Any, x: Any, *points: Any) -> Any:
        weight = _less(emit, relax.const(w), b) if b is not None else relax.const(_wide(w))
        return op.matmul(_less(emit, x, points[0] if points else a), weight, out_dtype="int32")

    return case(name, [x, a] if dynamic and a is not None else [x], make, expected, named)


def _product_of_two(name: str, x: Array, w: Array, a: Array | None = None, b: Array | None = None, named: Any = None) -> Case:
    """Return the case of ``(x - a) @ (w - b)`` of four parameters."""
    points = [point for point in (a, b) if point is not None]
    zero = np.int32(0)
    expected = (_wide(x) - (zero if a is None else _wide(a))) @ (_wide(w) - (zero if b is None else _wide(b)))

    def make(emit: Any, x: Any, w: Any, *points: Any) -> Any:
        left = _less(emit, x, points[0] if a is not None else None)
        return op.matmul(left, _less(emit, w, points[-1] if b is not None else None), out_dtype="int32")

    return case(name, [x, w, *points], make, expected, named)


def _products() -> list[Case]:
    found = []
    for left in ("int8", "uint8"):
        for right in ("int8", "uint8"):
            both = f"{left}_{right}"
            for rows, inner, columns in [(1, 1, 1), (7, 4, 33), (13, 37, 70), (1, 68, 300)]:
                x, w = _numbers(left, rows, inner), _numbers(right, inner, columns)
                found.append(_product(f"{both}_{rows}x{inner}x{columns}", x, w))
            x, w = _numbers(left, 9, 40), _numbers(right, 40, 21)
            point = _numbers(left)
            found.append(_product(f"{both}_points", x, w, point, _numbers(right)))
            found.append(_product(f"{both}_of_rows_and_columns", x, w, _numbers(left, 9, 1), _numbers(right, 21)))
            found.append(_product(f"{both}_dynamic_point", x, w, point, _numbers(right), dynamic=True))
            found.append(_product(f"{both}_dynamic_rows", x, w, _numbers(left, 9, 1), dynamic=True))
            found.append(_product(f"{both}_named_rows", x, w, point, _numbers(right), {(0, 0): f"rows_{both}"}))
            x, w = _numbers(left, 9, 41), _numbers(right, 41, 21)
            found.append(_product_of_two(f"{both}_two", x, w))
            found.append(_product_of_two(f"{both}_two_points", x, w, _numbers(left), _numbers(right)))
            found.append(
                _product_of_two(f"{both}_two_left", x, w, a=_numbers(left, 9, 1), named={(0, 0): f"two_{both}", (2, 0): f"two_{both}"})
            )
            found.append(_product_of_two(f"{both}_two_right", x[:, :40], w[:40], b=_numbers(right, 21)))
            for high in (False, True):
                for higher in (False, True):
                    x, w = _extremes(left, 5, 1030, highest=high), _extremes(right, 1030, 17, highest=higher)
                    a, b = _extremes(left, highest=not high), _extremes(right, highest=not higher)
                    found.append(_product(f"{both}_extremes_{high}_{higher}", x, w))
                    found.append(_product(f"{both}_extreme_points_{high}_{higher}", x, w, a, b))
    x, w = _numbers("uint8", 130, 260), _numbers("int8", 260, 70)
    found.append(_product("parallel", x, w))
    x, w = _numbers("int8", 2, 3, 5, 12), _numbers("int8", 12, 18)
    found.append(_product("batch", x, w, named={(0, 0): "batch"}))
    x, w = _numbers("int8", 2, 3, 5, 12), _numbers("uint8", 2, 3, 12, 18)
    found.append(_product_of_two("two_batches", x, w, _numbers("int8"), _numbers("uint8"), {(0, 0): "two", (1, 0): "two"}))
    found.append(_product_of_two("batch_and_matrix", x, w[0, 0], _numbers("int8"), _numbers("uint8")))
    return found


def _convolution(name: str, x: Array, w: Array, a: Any, b: Any, *, dynamic: bool = False, named: Any = None, **geometry: Any) -> Case:
    strides, dilation = geometry.get("strides", (1, 1)), geometry.get("dilation", (1, 1))
    top, left, bottom, right = geometry.get("padding", (0, 0, 0, 0))
    zero = np.int32(0)
    data = np.pad(_wide(x) - (zero if a is None else _wide(a)), [(0, 0), (0, 0), (top, bottom), (left, right)])
    weight = _wide(w) - (zero if b is None else _wide(b).reshape(-1, 1, 1, 1))
    rows = (data.shape[2] - (w.shape[2] - 1) * dilation[0] - 1) // strides[0] + 1
    columns = (data.shape[3] - (w.shape[3] - 1) * dilation[1] - 1) // strides[1] + 1
    expected = np.zeros((x.shape[0], w.shape[0], rows, columns), "int32")
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            y, z = i * dilation[0], j * dilation[1]
            part = data[:, :, y : y + (rows - 1) * strides[0] + 1 : strides[0], z : z + (columns - 1) * strides[1] + 1 : strides[1]]
            expected += np.einsum("ncyx,oc->noyx", part, weight[:, :, i, j])

    def make(emit: Any, x: Any, *points: Any) -> Any:
        wide = relax.const(_wide(w))
        filters = wide if b is None else emit(op.subtract(wide, relax.const(_wide(b).reshape(-1, 1, 1, 1))))
        return op.nn.conv2d(_less(emit, x, points[0] if points else a), filters, out_dtype="int32", **geometry)

    return case(name, [x, a] if dynamic else [x], make, expected, named)


def _convolutions() -> list[Case]:
    found = []
    for left in ("int8", "uint8"):
        for right in ("int8", "uint8"):
            x, w = _numbers(left, 2, 6, 9, 21), _numbers(right, 7, 6, 3, 3)
            point, of_filters = _numbers(left), _numbers(right, 7)
            both = f"conv_{left}_{right}"
            found.append(_convolution(f"{both}", x, w, None, None, padding=(1, 1, 1, 1)))
            found.append(_convolution(f"{both}_points", x, w, point, of_filters, padding=(1, 0, 2, 1), strides=(2, 1)))
            found.append(_convolution(f"{both}_dynamic", x, w, point, None, padding=(1, 1, 1, 1), strides=(2, 2), dynamic=True))
            found.append(_convolution(f"{both}_pixels", x, w[:, :, :1, :1], point, of_filters))
    for high in (False, True):
        x, w = _extremes("uint8", 1, 64, 5, 5, highest=high), _extremes("int8", 3, 64, 3, 3, highest=not high)
        found.append(_convolution(f"extremes_{high}", x, w, None, None))
    for channels, size, outputs in [(1, 7, 1), (5, 35, 13)]:
        x = _numbers("uint8", 1, channels, size, size)
        geometries: list[tuple[str, tuple[int, int], dict[str, Any]]] = [
            ("same", (3, 3), {"padding": (1, 1, 1, 1)}),
            ("strided", (3, 3), {"padding": (0, 0, 1, 1), "strides": (2, 2)}),
            ("dilated", (3, 2), {"padding": (2, 1, 2, 1), "dilation": (2, 3), "strides": (1, 2)}),
            ("row", (1, 5), {"padding": (0, 2, 0, 2), "strides": (3, 3)}),
            ("column", (4, 1), {"padding": (3, 0, 0, 0)}),
            ("pixels", (1, 1), {}),
            ("strided_pixels", (1, 1), {"strides": (2, 3)}),
            ("padded_pixels", (1, 1), {"padding": (1, 2, 0, 1), "strides": (1, 2)}),
        ]
        for name, kernel, geometry in geometries:
            w = _numbers("int8", outputs, channels, *kernel)
            found.append(_convolution(f"{name}_{channels}_{size}", x, w, np.array(131, "uint8"), None, **geometry))
    x, w = _numbers("int8", 3, 8, 6, 18), _numbers("int8", 20, 8, 3, 3)
    found.append(_convolution("named_batch", x, w, None, None, padding=(1, 1, 1, 1), named={(0, 0): "images"}))
    for strides in ((1, 1), (2, 2)):  # short rows and long sums: vectors run along channels
        x, w, point = _numbers("int8", 1, 118, 7, 7), _numbers("uint8", 40, 118, 3, 3), _numbers("int8")
        found.append(_convolution(f"short_rows_{strides[0]}", x, w, point, _numbers("uint8", 40), padding=(1, 1, 1, 1), strides=strides))
    return found


CASES = [*_products(), *_convolutions()]


ON_TARGETS = OnTargets(CASES, compute)


@pytest.mark.parametrize(("target", "one"), ON_TARGETS.params(INTEGER_TARGETS))
def test_sums_are_exact(target: str | None, one: Case) -> None:
    np.testing.assert_array_equal(ON_TARGETS.results(target, one)[one.name], one.expected, strict=True)


def _integer_kernel(target: Any, make: Any = None, dtype: str = "uint8") -> Any:
    weight = relax.const(_wide(_numbers("int8", 64, 48)))
    chosen = make or (lambda emit, x: op.matmul(_less(emit, x, None), weight, out_dtype="int32"))
    kernels = kernels_of(chosen, [(24, 64)], target, dtype)
    return next((kernel for name, kernel in kernels.items() if "integer" in name), None)


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        (VNNI, "llvm.x86.avx512.vpdpbusd.512"),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=alderlake", "llvm.x86.avx512.vpdpbusd.256"),
        (AVX512_WITHOUT_VNNI, "llvm.x86.avx512.pmaddw.d.512"),
        (X86_64_V3, "llvm.x86.avx2.pmadd.wd"),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64", "llvm.x86.sse2.pmadd.wd"),
        (AARCH64_DOTPROD, "llvm.aarch64.neon.sdot.v4i32.v16i8"),
        (AARCH64, ""),
    ],
)
def test_the_target_decides_the_instruction(target: str, instruction: str) -> None:
    found = resolve_target(target).tvm
    assert dots_of(found).intrinsic == instruction
    scheduled = IntegerProduct().apply(_integer_kernel(found), found)
    assert ("call_llvm_pure_intrin" in str(scheduled.script())) == bool(instruction)  # type: ignore[union-attr]  # it takes it


def test_bytes_that_lie_as_words_do_are_read_in_place() -> None:
    target = resolve_target(VNNI).tvm
    texts = [
        str(IntegerProduct().apply(_integer_kernel(target, dtype=dtype), target).script())  # type: ignore[union-attr]  # it takes it
        for dtype in ("uint8", "int8")
    ]
    assert ["words" in text for text in texts] == [False, True]


def test_a_kernel_for_another_target_is_left_alone() -> None:
    kernel = _integer_kernel(resolve_target(VNNI).tvm)
    assert IntegerProduct().apply(kernel, resolve_target(X86_64_V3).tvm) is None


def test_products_of_other_integers_are_left_alone() -> None:
    weight = relax.const(_numbers("int32", 64, 48))
    target = resolve_target(VNNI).tvm
    assert _integer_kernel(target, lambda emit, x: op.matmul(emit(op.astype(x, "int32")), weight, out_dtype="int32")) is None
