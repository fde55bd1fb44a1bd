"""What host code computes, against NumPy. All cases are one program, so that there is one compilation for each target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.relax import op

from landbridge.codegen import build
from support.host_library import HostRun
from support.other_targets import TARGETS, run_on
from support.placed_programs import build_main, placed

Array = np.ndarray[Any, Any]
_random = np.random.default_rng(7)
BATCH = 3
"""The extent of the named dimension ``n`` in the runs."""


def _floats(*shape: int, dtype: str = "float32") -> Array:
    return _random.standard_normal(shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """An expression over inputs, what NumPy gives for it, and how far apart they may be.

    Attributes:
        rtol: 1e-5 for float32 (a few rounding errors, functions of a few ulp); 0 where nothing is rounded differently.
    """

    name: str
    inputs: tuple[Array, ...]
    relax: Callable[..., Any]
    numpy: Callable[..., Array]
    rtol: float = 1e-5
    dynamic: bool = False


def _conv(x: Array, w: Array, padding: int = 0, stride: int = 1) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, w, optimize=True))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:
    gamma, beta, mean, variance = (a[:, None, None] for a in (gamma, beta, mean, variance))
    return np.asarray((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta)


def _relax_batch_norm(emit: Any, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    return relax.TupleGetItem(emit(op.nn.batch_norm(x, gamma, beta, mean, variance, axis=1)), 0)


def _constant_batch_norm(emit: Any, x: Any) -> Any:
    return _relax_batch_norm(emit, x, *(relax.const(a) for a in _STATISTICS))


_STATISTICS = tuple(np.abs(_floats(3)) + 0.5 for _ in range(4))
_IMAGE = _floats(BATCH, 3, 8, 8)
_INDICES = np.array([3, 0, 2, 2], "int64")
_PIXELS = _random.integers(0, 256, (BATCH, 5, 7)).astype("uint8")
_BIG = _floats(600, 700)

CASES = (
    Case("relu", (_floats(4, 5),), lambda e, x: op.nn.relu(x), lambda x: np.maximum(x, 0), 0),
    Case("add_broadcast", (_floats(4, 1, 5), _floats(3, 1)), lambda e, x, y: op.add(x, y), np.add, 0),
    Case("chain", (_floats(4, 5),), lambda e, x: op.exp(e(op.negative(e(op.tanh(x))))), lambda x: np.exp(-np.tanh(x))),
    Case("sigmoid", (_floats(4, 5),), lambda e, x: op.sigmoid(x), lambda x: 1 / (1 + np.exp(-x))),
    Case("scalar_constant", (_floats(4, 5),), lambda e, x: op.multiply(x, relax.const(0.5)), lambda x: x * np.float32(0.5), 0),
    Case("sum", (_floats(4, 5, 6),), lambda e, x: op.sum(x, axis=[1]), lambda x: x.sum(1)),
    Case("mean_all", (_floats(4, 50),), lambda e, x: op.mean(x), lambda x: x.mean(), 1e-4),
    Case("max", (_floats(4, 5, 6),), lambda e, x: op.max(x, axis=[0, 2], keepdims=True), lambda x: x.max((0, 2), keepdims=True), 0),
    Case("conv2d", (_IMAGE, _floats(4, 3, 3, 3)), lambda e, x, w: op.nn.conv2d(x, w, padding=1), lambda x, w: _conv(x, w, 1), 1e-4, True),
    Case(
        "conv2d_stride", (_IMAGE, _floats(4, 3, 3, 3)), lambda e, x, w: op.nn.conv2d(x, w, strides=2), lambda x, w: _conv(x, w, 0, 2), 1e-4
    ),
    Case(
        "conv_relu",
        (_IMAGE, _floats(4, 3, 1, 1)),
        lambda e, x, w: op.nn.relu(e(op.nn.conv2d(x, w))),
        lambda x, w: np.maximum(_conv(x, w), 0),
        1e-4,
    ),
    Case("matmul", (_floats(BATCH, 17), _floats(17, 9)), lambda e, x, y: op.matmul(x, y), lambda x, y: x @ y, 1e-4, True),
    Case("matmul_batched", (_floats(2, 4, 5), _floats(2, 5, 3)), lambda e, x, y: op.matmul(x, y), lambda x, y: x @ y, 1e-4),
    Case("softmax", (_floats(BATCH, 11),), lambda e, x: op.nn.softmax(x), _softmax, 1e-5, True),
    Case("argmax", (_floats(BATCH, 11),), lambda e, x: op.argmax(x, axis=1), lambda x: x.argmax(1), 0, True),
    Case("transpose", (_floats(BATCH, 4, 5),), lambda e, x: op.permute_dims(x, [0, 2, 1]), lambda x: x.transpose(0, 2, 1), 0, True),
    Case(
        "flatten_then_add",
        (_floats(BATCH, 4, 5),),
        lambda e, x: op.add(e(op.flatten(x)), relax.const(1.0)),
        lambda x: x.ravel() + 1,
        0,
        True,
    ),
    Case("add_then_reshape", (_floats(4, 6),), lambda e, x: op.reshape(e(op.add(x, x)), (3, 8)), lambda x: (x + x).reshape(3, 8), 0),
    Case(
        "unit_transpose",
        (_floats(BATCH, 1, 4, 5),),
        lambda e, x: op.permute_dims(x, [0, 2, 3, 1]),
        lambda x: x.transpose(0, 2, 3, 1),
        0,
        True,
    ),
    Case(
        "uint8_to_float32",
        (_PIXELS,),
        lambda e, x: op.multiply(e(op.astype(x, "float32")), relax.const(1 / 255)),
        lambda x: x.astype("f4") * np.float32(1 / 255),
        0,
        True,
    ),
    Case("float32_to_float16", (_floats(4, 33),), lambda e, x: op.astype(x, "float16"), lambda x: x.astype("f2"), 0),
    Case("float16_to_float32", (_floats(4, 33, dtype="float16"),), lambda e, x: op.astype(x, "float32"), lambda x: x.astype("f4"), 0),
    Case("float16_add", (_floats(4, 33, dtype="float16"),), lambda e, x: op.add(x, x), lambda x: x + x, 0),
    Case("float16_exp", (_floats(4, 33, dtype="float16"),), lambda e, x: op.exp(x), lambda x: np.exp(x.astype("f4")).astype("f2"), 2e-3),
    Case("float64", (_floats(4, 5, dtype="float64"),), lambda e, x: op.sqrt(e(op.abs(x))), lambda x: np.sqrt(np.abs(x)), 0),
    Case("int64", (_INDICES,), lambda e, x: op.multiply(x, relax.const(3, "int64")), lambda x: x * 3, 0),
    Case("int8_wraps", (np.array([100, -100], "int8"),), lambda e, x: op.add(x, x), lambda x: x + x, 0),
    Case("bool", (_floats(4, 5), _floats(4, 5)), lambda e, x, y: op.greater(x, y), np.greater, 0),
    Case("where", (_floats(4, 5), _floats(4, 5)), lambda e, x, y: op.where(e(op.less(x, y)), x, y), np.minimum, 0),
    Case("bool_input", (np.array([True, False]),), lambda e, x: op.logical_not(x), np.logical_not, 0),
    Case("take", (_floats(4, 5), _INDICES), lambda e, x, i: op.take(x, i, axis=0, mode="clip"), lambda x, i: x[i], 0),
    Case(
        "gather",
        (_floats(4, 5), np.array([[1, 0, 3, 2, 1]], "int64")),
        lambda e, x, i: op.gather_elements(x, i, axis=0),
        lambda x, i: np.take_along_axis(x, i, 0),
        0,
    ),
    Case(
        "concat",
        (_floats(BATCH, 4), _floats(BATCH, 2)),
        lambda e, x, y: op.concat([x, y], axis=1),
        lambda x, y: np.concatenate([x, y], 1),
        0,
        True,
    ),
    Case("pad", (_floats(3, 4),), lambda e, x: op.nn.pad(x, [0, 1, 2, 0]), lambda x: np.pad(x, ((0, 1), (2, 0))), 0),
    Case("strided_slice", (_floats(6, 7),), lambda e, x: op.strided_slice(x, [0, 1], [1, 0], [6, 7], [2, 3]), lambda x: x[1:6:2, 0:7:3], 0),
    Case("split", (_floats(6, 4),), lambda e, x: relax.TupleGetItem(e(op.split(x, 3, axis=0)), 1), lambda x: x[2:4], 0),
    Case("batch_norm", (_IMAGE, *_STATISTICS), _relax_batch_norm, _batch_norm, 1e-4),
    Case("batch_norm_of_constants", (_IMAGE,), _constant_batch_norm, lambda x: _batch_norm(x, *_STATISTICS), 1e-4, True),
    Case("max_pool", (_IMAGE,), lambda e, x: op.nn.max_pool2d(x, (2, 2), (2, 2)), lambda x: x.reshape(BATCH, 3, 4, 2, 4, 2).max((3, 5)), 0),
    Case("zeros_like_n", (_floats(BATCH, 4),), lambda e, x: op.add(op.zeros(x.ty.shape, "float32"), x), lambda x: x, 0, True),
    Case("large_and_parallel", (_BIG,), lambda e, x: op.add(x, x), lambda x: x + x, 0),
    Case("large_reduction", (_BIG,), lambda e, x: op.sum(x, axis=[1]), lambda x: x.sum(1), 1e-3),
)


def _inputs(case: Case) -> dict[str, tuple[list[int | str], str]]:
    """Return the parameters of a case; the leading extent of a dynamic one is the dimension ``n``."""
    shapes = [list[int | str](array.shape) for array in case.inputs]
    for shape in shapes if case.dynamic else []:
        if shape[0] == BATCH:
            shape[0] = "n"
    return {f"{case.name}_{i}": (shape, str(array.dtype)) for i, (shape, array) in enumerate(zip(shapes, case.inputs, strict=True))}


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    inputs = {name: parameter for case in CASES for name, parameter in _inputs(case).items()}

    def make(emit: Any, *params: Any) -> list[Any]:
        by_name = {str(param.name): param for param in params}
        return [emit(case.relax(emit, *(by_name[name] for name in _inputs(case)))) for case in CASES]

    module = build_main(inputs, make)
    artifact = build(placed(module, outputs=[case.name for case in CASES]), request.param, name="cases")
    arrays = {f"{case.name}_{i}": array for case in CASES for i, array in enumerate(case.inputs)}
    return run_on(request.param, artifact)(**arrays)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_host_code_computes_what_numpy_does(case: Case, results: dict[str, Array]) -> None:
    expected = case.numpy(*case.inputs)
    found = results[case.name]
    assert (str(found.dtype), found.shape) == (str(expected.dtype), expected.shape)
    np.testing.assert_allclose(found, expected, rtol=case.rtol, atol=case.rtol)


def test_a_kernel_gives_what_tvms_own_machine_does() -> None:
    def make(emit: Any, x: Any, w: Any) -> list[Any]:
        return [emit(op.nn.softmax(emit(op.matmul(emit(op.nn.gelu(x)), w))))]

    module = build_main({"x": ((4, 8), "float32"), "w": ((8, 5), "float32")}, make)
    x, w = _floats(4, 8), _floats(8, 5)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    expected = machine["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(w))[0].numpy()
    found = HostRun(build(placed(module, outputs=["y"]), name="gelu"))(x=x, w=w)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # other fusion, other order of additions


@pytest.mark.parametrize("batch", [1, 2, 65])
def test_one_library_serves_every_extent_of_a_named_dimension(batch: int, dynamic: HostRun) -> None:
    x = _floats(batch, 6)
    found = dynamic(x=x)
    np.testing.assert_allclose(found["y"], np.repeat(np.exp(x), 2, 0).reshape(batch, 12), rtol=1e-5)
    np.testing.assert_array_equal(found["ones"], np.ones(2 * batch, "f4"))


@pytest.fixture(scope="module")
def dynamic() -> HostRun:
    def make(emit: Any, x: Any) -> list[Any]:
        n = x.ty.shape[0]
        doubled = emit(op.repeat(emit(op.exp(x)), 2, axis=0))
        return [emit(op.reshape(doubled, (n, 12))), emit(op.full((n * tirx.IntImm("int64", 2),), relax.const(1.0), "float32"))]

    return HostRun(build(placed(build_main({"x": (("n", 6), "float32")}, make), outputs=["y", "ones"]), name="dynamic"))


def test_a_shape_may_need_a_minimal_extent() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        n = x.ty.shape[0]
        tail = emit(op.strided_slice(x, [0], [5], [n], assume_inbound=True))
        return [emit(op.nn.softmax(emit(op.exp(tail))))]

    run = HostRun(build(placed(build_main({"x": (("n", 6), "float32")}, make), outputs=["y"]), name="tail"))
    x = _floats(9, 6)
    np.testing.assert_allclose(run(x=x)["y"], _softmax(np.exp(x[5:])), rtol=1e-5)
