"""Products of dequantised tensors: which become sums of integers, and how exact they are.

The reference is exact: sums by NumPy's int64, scaled in float64, where a product of an int32 and two float32 is wrong by 2 ** -52 at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.half_weights import is_bfloat16
from landbridge.codegen.multiply_quantised import multiply_quantised
from landbridge.codegen.target import resolve_target
from landbridge.ir import body as ir_body
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import AARCH64, INTEGER_TARGETS, X86_64_V3, OnTargets
from support.placed_programs import build_main

VNNI = resolve_target("llvm -mtriple=x86_64-linux-gnu -mcpu=cascadelake").tvm
BOUND = 3.001 * 2.0**-24
"""The relative error that the pass promises."""

_random = np.random.default_rng(31)


def _numbers(dtype: str, *shape: int) -> Array:
    kind = np.iinfo(dtype)
    return _random.integers(kind.min, kind.max + 1, shape).astype(dtype)


def _scales(*shape: int) -> Array:
    return _random.uniform(1e-3, 1e-1, shape).astype("float32")


def _parameter(array: Array, given: Any) -> Any:
    return relax.const(array) if given is None else given


def _centred(quantised: Any, axis: int) -> Array:
    """Return the numbers of an array, its scale and its zero point without that, int64."""
    array, _, point = quantised
    along = [-1 if i == axis else 1 for i in range(array.ndim)]
    centred: Array = array.astype("int64") - (point.reshape(along) if point.size > 1 else point.reshape(()))
    return centred


def _matmul(name: str, x: Any, w: Any, *, given: int = 1, turned: bool = False, named: Any = None) -> Case:
    """Return the case of a product; its expectation is exact.

    Args:
        x: an array, its scale and its zero point.
        w: the same, with scales along the last axis.
        given: how many of ``x``, ``w`` and the scale and zero point of ``x`` are parameters.
        turned: the weight is dequantised before it is transposed.
    """
    parameters = [x[0], w[0], x[1], x[2]][:given]
    both = (x[1].astype("float64") * w[1]).reshape(-1) if w[1].size > 1 else float(x[1]) * float(w[1])
    expected = (_centred(x, -1 % x[0].ndim) @ _centred(w, w[0].ndim - 1)) * both

    def make(emit: Any, *given: Any) -> Any:
        def part(index: int, array: Array) -> Any:
            return _parameter(array, given[index] if index < len(given) else None)

        left = emit(op.dequantize(given[0], part(2, x[1]), part(3, x[2]), axis=-1))
        if turned:
            right = emit(op.permute_dims(emit(op.dequantize(relax.const(w[0].T), relax.const(w[1]), relax.const(w[2]), axis=0))))
        else:
            right = emit(op.dequantize(part(1, w[0]), relax.const(w[1]), relax.const(w[2]), axis=w[0].ndim - 1))
        return op.matmul(left, right)

    return case(name, parameters, make, expected, named)


def _conv2d(name: str, x: Any, w: Any, named: Any = None, **geometry: Any) -> Case:
    """Return the case of a convolution with a constant weight; its expectation is exact."""
    top, left, bottom, right = geometry.get("padding", (0, 0, 0, 0))
    down, across = geometry.get("strides", (1, 1))
    data = np.pad(_centred(x, 1), [(0, 0), (0, 0), (top, bottom), (left, right)])
    windows = np.lib.stride_tricks.sliding_window_view(data, w[0].shape[2:], (2, 3))[:, :, ::down, ::across]
    sums = np.einsum("ncyxij,ocij->noyx", windows, _centred(w, 0))
    expected = sums * (x[1].astype("float64") * w[1]).reshape([1, -1, 1, 1])

    def make(emit: Any, data: Any) -> Any:
        real = emit(op.dequantize(data, relax.const(x[1]), relax.const(x[2]), axis=1))
        weight = emit(op.dequantize(relax.const(w[0]), relax.const(w[1]), relax.const(w[2]), axis=0))
        return op.nn.conv2d(real, weight, **geometry)

    return case(name, [x[0]], make, expected, named)


def _cases() -> list[Case]:
    found = []
    for left in ("int8", "uint8"):
        for right in ("int8", "uint8"):
            both = f"{left}_{right}"
            x = _numbers(left, 9, 41), _scales(), _numbers(left)
            tensor, channel = (_scales(), _numbers(right)), (_scales(21), _numbers(right, 21))
            w = _numbers(right, 41, 21)
            found += [
                _matmul(f"{both}_tensor", x, (w, *tensor)),
                _matmul(f"{both}_channel", x, (w, *channel)),
                _matmul(f"{both}_turned", x, (w, *channel), turned=True),
                _matmul(f"{both}_of_two", x, (w, *tensor), given=2),
                _matmul(f"{both}_computed_scale", x, (w, *tensor), given=4),
                _matmul(f"{both}_rows", x, (w, *channel), named={(0, 0): f"rows_{both}"}),
            ]
            images, filters = (_numbers(left, 2, 5, 7, 18), _scales(), _numbers(left)), _numbers(right, 13, 5, 3, 3)
            of_filters = _scales(13), _numbers(right, 13)
            found += [
                _conv2d(f"{both}_conv", images, (filters, *of_filters), padding=(1, 1, 1, 1)),
                _conv2d(f"{both}_conv_tensor", images, (filters, *tensor), padding=(2, 0, 1, 1), strides=(2, 1)),
                _conv2d(f"{both}_images", images, (filters, *of_filters), {(0, 0): f"images_{both}"}, padding=(1, 1, 1, 1)),
            ]
            low, high = np.iinfo(left), np.iinfo(right)
            for first in (low.min, low.max):  # the largest sums there are: float32 does not hold them
                for second in (high.min, high.max):
                    point, other = np.array(low.min + low.max - first, left), np.array(high.min + high.max - second, right)
                    x_, w_ = (np.full((3, 2050), first, left), _scales(), point), (np.full((2050, 17), second, right), _scales(), other)
                    found.append(_matmul(f"{both}_extreme_{first}_{second}", x_, w_))
    left_heads = _numbers("uint8", 2, 3, 5, 12), _scales(), _numbers("uint8")
    right_heads = _numbers("int8", 2, 3, 12, 18), _scales(), _numbers("int8")
    return [*found, _matmul("heads", left_heads, right_heads, given=2, named={(0, 0): "two", (1, 0): "two"})]


CASES = _cases()


ON_TARGETS = OnTargets(CASES, compute)


@pytest.mark.parametrize(("target", "one"), ON_TARGETS.params(INTEGER_TARGETS))
def test_results_are_as_exact_as_promised(target: str | None, one: Case) -> None:
    found = ON_TARGETS.results(target, one)[one.name]
    assert found.dtype == np.float32
    if target == AARCH64:  # it has no such instructions: sums are of float32
        np.testing.assert_allclose(found, one.expected, rtol=1e-4, atol=1e-4 * float(np.abs(one.expected).max()))
    else:
        assert (np.abs(found - one.expected) <= BOUND * np.abs(one.expected)).all()


def test_the_bound_is_one_that_sums_of_float32_do_not_keep() -> None:
    x = _numbers("uint8", 9, 410), _scales(), _numbers("uint8")
    w = _numbers("int8", 410, 21), _scales(), _numbers("int8")
    exact = (_centred(x, 1) @ _centred(w, 1)) * (float(x[1]) * float(w[1]))
    left, right = (((a.astype("float32") - p) * s).astype("float32") for a, s, p in (x, w))
    assert (np.abs(left @ right - exact) > BOUND * np.abs(exact)).any()


# ---- which are rewritten -----------------------------------------------------------------------------------------------------


def _module(make: Any, *inputs: tuple[list[Any], str]) -> tvm.IRModule:
    return build_main({f"x{i}": one for i, one in enumerate(inputs)}, lambda emit, *params: [emit(make(emit, *params))])


def _operators(module: tvm.IRModule) -> list[str]:
    """Return the products of a module with the type of their sums."""
    return [f"{call.op.name} {call.ty.dtype}" for call in _calls(module) if call.op.name in ("relax.matmul", "relax.nn.conv2d")]


def _calls(module: tvm.IRModule) -> list[Any]:
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    return [binding.value for binding in bindings if isinstance(binding.value, relax.Call)]


def _dequantized(emit: Any, data: Any, scale: Any = 0.5, point: Any = 3, axis: int = -1) -> Any:
    dtype = str(data.ty.dtype)
    return emit(op.dequantize(data, relax.const(np.asarray(scale, "float32")), relax.const(np.asarray(point, dtype)), axis=axis))


def _convolution(channels: int, outputs: int, groups: int = 1) -> Any:
    weight = relax.const(_numbers("int8", outputs, channels // groups, 3, 3))
    return lambda emit, x: op.nn.conv2d(_dequantized(emit, x), _dequantized(emit, weight, np.ones(outputs), 0, 0), groups=groups)


def _product(inner: int, weight: Any = None, **of_weight: Any) -> Any:
    weight = relax.const(np.full((inner, 8), -128, "int8")) if weight is None else weight
    return lambda emit, x: op.matmul(_dequantized(emit, x, point=0), _dequantized(emit, weight, **of_weight))


def test_a_convolution_becomes_sums_of_integers() -> None:
    module = _module(_convolution(8, 4), ([1, 8, 6, 6], "uint8"))
    assert _operators(module) == ["relax.nn.conv2d float32"]
    assert _operators(multiply_quantised(module, VNNI)) == ["relax.nn.conv2d int32"]


def test_what_follows_a_product_is_one_kernel_with_it() -> None:
    def make(emit: Any, x: Any) -> Any:
        found = emit(op.nn.relu(emit(op.add(emit(_product(12, point=0)(emit, x)), relax.const(np.ones(8, "float32"))))))
        return op.quantize(found, relax.const(np.float32(0.1)), relax.const(np.uint8(0)), axis=0, out_dtype="uint8")

    names = list(kernels_of(make, [(4, 12)], VNNI, "uint8"))
    assert len(names) == 1
    assert "integer" in names[0]


def test_groups_stay_in_float32_with_weights_that_are_computed_at_compile_time() -> None:
    module = _module(_convolution(8, 8, groups=8), ([1, 8, 6, 6], "uint8"))
    assert _operators(multiply_quantised(module, VNNI)) == ["relax.nn.conv2d float32"]
    kernels = kernels_of(_convolution(8, 8, groups=8), [(1, 8, 6, 6)], VNNI, "uint8")
    assert sum("dequantize" in name for name in kernels) == 1  # of the data


@pytest.mark.parametrize(("inner", "dtype"), [(65794, "float32"), (65793, "int32")])
def test_sums_that_may_leave_32_bits_stay_in_float32(inner: int, dtype: str) -> None:
    found = multiply_quantised(_module(_product(inner, point=0), ([4, inner], "uint8")), VNNI)
    assert _operators(found) == [f"relax.matmul {dtype}"]
    assert 65793 * 255 * 128 <= 2**31 - 1 < 65794 * 255 * 128


@pytest.mark.parametrize(
    "make",
    [
        lambda emit, x: op.matmul(emit(op.astype(x, "float32")), relax.const(np.ones((12, 8), "float32"))),
        lambda emit, x: op.matmul(_dequantized(emit, x), relax.const(np.ones((12, 8), "float32"))),
        lambda emit, x: op.matmul(
            _dequantized(emit, x, np.ones(12), np.zeros(12)), _dequantized(emit, relax.const(np.ones((12, 8), "int8")))
        ),
        _product(12, scale=np.ones(12), axis=0),
        _product(12, relax.const(np.ones((12, 8), "int32"))),
        _product(12, relax.const(np.ones((2, 12, 8), "int8"))),
    ],
    ids=["no_integers", "real_weight", "scales_of_the_sum", "scales_along_the_sum", "wide_weight", "several_weights"],
)
def test_other_products_stay_as_they_are(make: Any) -> None:
    module = _module(make, ([4, 12], "uint8"))
    assert _operators(multiply_quantised(module, VNNI)) == ["relax.matmul float32"]


def test_a_target_without_instructions_for_small_integers_has_sums_of_float32() -> None:
    module = _module(_product(12), ([4, 12], "uint8"))
    assert _operators(multiply_quantised(module, resolve_target(AARCH64).tvm)) == ["relax.matmul float32"]
    assert _operators(multiply_quantised(module, resolve_target(X86_64_V3).tvm)) == ["relax.matmul int32"]


# ---- weights of real data ----------------------------------------------------------------------------------------------------


def _by_weight(weight: Array, scale: Array, point: Array) -> Any:
    return lambda emit, x: op.matmul(x, _dequantized(emit, relax.const(weight), scale, point))


_WEIGHTS = [(dtype, scales) for dtype in ("int8", "uint8") for scales in (1, 24)]


@pytest.mark.parametrize(("dtype", "count"), _WEIGHTS)
def test_of_real_data_only_the_sums_are_scaled(dtype: str, count: int) -> None:
    weight, scale, point = _numbers(dtype, 40, 24), _scales(count), _numbers(dtype, count)
    make = _by_weight(weight, *((scale, point) if count > 1 else (scale[0], point[0])))
    module = multiply_quantised(_module(make, ([3, 40], "float32")), VNNI)
    (product,) = [call for call in _calls(module) if call.op.name == "relax.matmul"]
    np.testing.assert_array_equal(product.args[1].value.numpy(), weight.astype("float32") - point.astype("float32"))
    assert is_bfloat16(product.args[1].value.numpy())
    x = _random.standard_normal((3, 40)).astype("float32")
    found = compute([case("real", [x], make, x)])["real"]
    wide = (weight.astype("float64") - point) * scale
    assert (np.abs(found - x.astype("float64") @ wide) <= 42 * 2.0**-24 * (np.abs(x).astype("float64") @ np.abs(wide))).all()


def test_scales_along_the_sum_of_real_data_stay() -> None:
    def make(emit: Any, x: Any) -> Any:
        return op.matmul(x, _dequantized(emit, relax.const(_numbers("int8", 12, 8)), np.ones(12), np.zeros(12), 0))

    module = _module(make, ([4, 12], "float32"))
    *_, product = _calls(multiply_quantised(module, VNNI))
    assert not ir_body.is_constant(product.args[1])


def test_scales_that_are_moved_before_a_product_are_followed() -> None:
    weight = relax.const(_numbers("int8", 8, 3, 4))

    def make(emit: Any, x: Any) -> Any:
        real = _dequantized(emit, weight, np.ones(8), 0, 0)
        return op.matmul(_dequantized(emit, x), emit(op.permute_dims(emit(op.reshape(real, [8, 12])))))

    assert _operators(multiply_quantised(_module(make, ([4, 12], "uint8")), VNNI)) == ["relax.matmul int32"]
