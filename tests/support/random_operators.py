"""The operators of `support.random_onnx`: each maker adds one node, or two, to a model, or none where no value fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from support.random_model import BOUND, FLOATS, RandomModel, Value
from support.small_onnx import DTYPES

Maker = Callable[[RandomModel], Any]


def _unary(op: str, bound: float | None = None, exact: bool = False, dtypes: Sequence[str] = FLOATS, **attributes: Any) -> Maker:
    """Return a maker of an element-wise operator; ``exact`` keeps exactness; ``bound`` of the result, None for that of the input."""

    def make(model: RandomModel) -> None:
        x = model.pick(*dtypes)
        if x is not None:
            model.add(op, [x.name], (x.dtype, x.shape, x.bound if bound is None else bound, exact and x.exact), **attributes)

    return make


def _step(op: str) -> Maker:
    """Return a maker of an operator that jumps: exact values only."""

    def make(model: RandomModel) -> None:
        x = model.pick("float32", exact=True)
        if x is not None:
            model.add(op, [x.name], (x.dtype, x.shape, x.bound + 1, True))

    return make


def _binary(op: str, bound: Callable[[float, float], float], exact: bool = False, dtypes: Sequence[str] = FLOATS) -> Maker:
    """Return a maker of an operator of two values of one shape, or of one value and a constant that broadcasts."""

    def make(model: RandomModel) -> None:
        x = model.pick(*dtypes)
        if x is None:
            return
        same = [v for v in model.values.values() if v.shape == x.shape and v.dtype == x.dtype]
        if model.rng.random() < 0.6:
            y = model.rng.choice(same)
            second, other, fine = y.name, y.bound, y.exact
        elif x.dtype in FLOATS:
            second, other, fine = model.weights(x.dtype, *x.inner[-1:]), 1.0, True
        else:
            second, other, fine = model.constant(np.array(3, x.dtype)), 3.0, True
        order = [x.name, second] if model.rng.random() < 0.5 else [second, x.name]
        model.add(op, order, (x.dtype, x.shape, bound(x.bound, other), exact and x.exact and fine))

    return make


def _integers(op: str) -> Maker:
    """Return a maker of integer arithmetic, which is exact; bounds keep it from overflowing."""

    def make(model: RandomModel) -> None:
        x = model.pick("int64")
        if x is None or x.bound > 1e6:
            return
        if op == "Mod":
            model.add(op, [x.name, model.constant(np.array(7, np.int64))], ("int64", x.shape, 7, True))
        else:
            y = model.rng.choice([v for v in model.values.values() if v.shape == x.shape and v.dtype == "int64"])
            model.add(op, [x.name, y.name], ("int64", x.shape, x.bound * max(y.bound, 1) + y.bound, True))

    return make


def _bytes(op: str) -> Maker:
    def make(model: RandomModel) -> None:
        x = model.pick("uint8")
        if x is not None:
            model.add(op, [x.name, model.constant(np.array(77, np.uint8))], ("uint8", x.shape, 255, True))

    return make


def _widen(model: RandomModel) -> None:
    x = model.pick("uint8", "int64", "bool")
    if x is not None and x.bound <= 255:
        dtype = model.rng.choice(FLOATS)
        scaled = model.add("Cast", [x.name], (dtype, x.shape, 1.0, True), to=DTYPES[dtype])[0]
        factor = model.constant(np.array(1 / 128, dtype))
        model.add("Mul", [scaled.name, factor], (dtype, x.shape, 2.0, True))


def _between_floats(model: RandomModel) -> None:
    x = model.pick(*FLOATS)
    if x is not None:
        other = FLOATS[1 - FLOATS.index(x.dtype)]
        model.add("Cast", [x.name], (other, x.shape, x.bound, False), to=DTYPES[other])


def _narrow(model: RandomModel) -> None:
    x = model.pick("float32", exact=True)
    if x is not None:
        model.add("Cast", [x.name], ("int64", x.shape, x.bound + 1, True), to=DTYPES["int64"])


def _compare(model: RandomModel) -> None:
    x = model.pick("float32", "int64", exact=True)
    if x is None:
        return
    y = model.rng.choice([v for v in model.values.values() if v.shape == x.shape and v.dtype == x.dtype and v.exact])
    model.add(model.rng.choice(("Less", "Greater", "Equal", "LessOrEqual")), [x.name, y.name], ("bool", x.shape, 1, True))


def _logic(model: RandomModel) -> None:
    x = model.pick("bool")
    if x is not None:
        y = model.rng.choice([v for v in model.values.values() if v.shape == x.shape and v.dtype == "bool"])
        model.add(model.rng.choice(("And", "Or", "Xor")), [x.name, y.name], ("bool", x.shape, 1, True))


def _where(model: RandomModel) -> None:
    mask = model.pick("bool")
    if mask is None:
        return
    found = [v for v in model.values.values() if v.shape == mask.shape and v.dtype in (*FLOATS, "int64")]
    if found:
        x = model.rng.choice(found)
        y = model.rng.choice([v for v in found if v.dtype == x.dtype])
        model.add("Where", [mask.name, x.name, y.name], (x.dtype, x.shape, max(x.bound, y.bound), x.exact and y.exact))


def _choose(model: RandomModel) -> None:
    x = model.pick("int64", "float32", exact=True)
    if x is not None and len(x.shape) > 1:
        op = model.rng.choice(("ArgMax", "ArgMin"))
        model.add(op, [x.name], ("int64", x.shape[:-1], 16, True), axis=-1, keepdims=0)


def _largest(model: RandomModel) -> None:
    x = model.pick("float32", exact=True)
    if x is None or len(x.shape) < 2 or x.inner[-1:] < (2,):
        return
    shape = (*x.shape[:-1], 2)
    count = model.constant(np.array([2], np.int64))
    model.add("TopK", [x.name, count], (x.dtype, shape, x.bound, True), ("int64", shape, 16, True), axis=-1)


def _flatten(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "int64", "uint8")
    if x is not None and len(x.shape) > 1:
        target = model.constant(np.array([0 if model.rng.random() < 0.5 else -1, int(np.prod(x.inner[-len(x.shape) + 1 :]))], np.int64))
        shape = (x.shape[0], int(np.prod(x.inner[-len(x.shape) + 1 :])))
        model.add("Reshape", [x.name, target], (x.dtype, shape, x.bound, x.exact))


def _transpose(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "int64", "uint8", "bool")
    if x is not None and len(x.shape) > 2:
        order = [0, *model.rng.sample(range(1, len(x.shape)), len(x.shape) - 1)]
        model.add("Transpose", [x.name], (x.dtype, [x.shape[axis] for axis in order], x.bound, x.exact), perm=order)


def _concat(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "int64")
    if x is None or len(x.shape) < 2 or x.inner[-1] > 40:
        return
    y = model.rng.choice([v for v in model.values.values() if v.dtype == x.dtype and v.shape[:-1] == x.shape[:-1]])
    shape = (*x.shape[:-1], x.inner[-1] + y.inner[-1])
    model.add("Concat", [x.name, y.name], (x.dtype, shape, max(x.bound, y.bound), x.exact and y.exact), axis=-1)


def _split(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "uint8")
    if x is None or len(x.shape) < 2 or x.inner[-1] < 3:
        return
    sizes = (1, x.inner[-1] - 1)
    parts = model.constant(np.array(sizes, np.int64))
    model.add("Split", [x.name, parts], *[(x.dtype, (*x.shape[:-1], size), x.bound, x.exact) for size in sizes], axis=-1)


def _slice(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "int64", "uint8")
    if x is None or len(x.shape) < 2 or x.inner[-1] < 3:
        return
    ends = [model.constant(np.array([number], np.int64)) for number in (1, 1 << 40, len(x.shape) - 1, 2)]
    model.add("Slice", [x.name, *ends], (x.dtype, (*x.shape[:-1], x.inner[-1] // 2), x.bound, x.exact))


def _gather(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "int64")
    if x is not None and len(x.shape) > 1:
        chosen = model.constant(np.array([x.inner[-1] - 1, 0, -1], np.int64))
        model.add("Gather", [x.name, chosen], (x.dtype, (*x.shape[:-1], 3), x.bound, x.exact), axis=-1)


def _unsqueeze(model: RandomModel) -> None:
    x = model.pick(*FLOATS, "bool")
    if x is not None and len(x.shape) < 4:
        axes = model.constant(np.array([1], np.int64))
        model.add("Unsqueeze", [x.name, axes], (x.dtype, (x.shape[0], 1, *x.shape[1:]), x.bound, x.exact))


def _pad(model: RandomModel) -> None:
    x = model.pick("float32")
    if x is not None and len(x.shape) > 1 and x.inner[-1] < 40:
        pads = model.constant(np.array([0] * (len(x.shape) - 1) + [1] + [0] * (len(x.shape) - 1) + [2], np.int64))
        model.add("Pad", [x.name, pads], (x.dtype, (*x.shape[:-1], x.inner[-1] + 3), x.bound, x.exact))


def _reduce(op: str) -> Maker:
    def make(model: RandomModel) -> None:
        x = model.pick("float32", "float16") if op != "ReduceMax" else model.pick("float32", "int64")
        if x is None or len(x.shape) < 2:
            return
        keep = model.rng.random() < 0.5
        shape = (*x.shape[:-1], *((1,) if keep else ()))
        bound = x.bound * (x.inner[-1] if op == "ReduceSum" else 1)
        exact = x.exact and op == "ReduceMax"
        if op == "ReduceSum":
            axes = model.constant(np.array([-1], np.int64))
            model.add(op, [x.name, axes], (x.dtype, shape, bound, exact), keepdims=int(keep))
        else:
            model.add(op, [x.name], (x.dtype, shape, bound, exact), axes=[-1], keepdims=int(keep))

    return make


def _images(model: RandomModel) -> tuple[Value, int, int, int] | None:
    """Return a float32 [batch, channels, height, width] of at least 3 by 3, with the extents."""
    x = model.pick("float32", rank=4)
    if x is None or x.shape[0] != model.batch:
        return None
    channels, height, width = (int(extent) for extent in x.shape[1:])
    return (x, channels, height, width) if min(height, width) >= 3 else None


def _conv(model: RandomModel) -> None:
    found = _images(model)
    if found is None:
        return
    x, channels, height, width = found
    if channels > 8:
        return
    inputs = [x.name, model.weights("float32", 4, channels, 3, 3, scale=0.25)]
    if model.rng.random() < 0.5:
        inputs.append(model.weights("float32", 4))
    model.add("Conv", inputs, ("float32", (x.shape[0], 4, height, width), x.bound * channels * 9 / 4, False), pads=[1, 1, 1, 1])


def _pool(model: RandomModel) -> None:
    found = _images(model)
    if found is None:
        return
    x, channels, height, width = found
    op = model.rng.choice(("MaxPool", "AveragePool"))
    result = ("float32", (x.shape[0], channels, height - 1, width - 1), x.bound, x.exact and op == "MaxPool")
    model.add(op, [x.name], result, kernel_shape=[2, 2])


def _global_pool(model: RandomModel) -> None:
    found = _images(model)
    if found is not None:
        x, channels, _, _ = found
        model.add("GlobalAveragePool", [x.name], ("float32", (x.shape[0], channels, 1, 1), x.bound, False))


def _normalise(model: RandomModel) -> None:
    found = _images(model)
    if found is None:
        return
    x, channels, _, _ = found
    scale, shift, mean = (model.weights("float32", channels) for _ in range(3))
    spread = model.constant(np.full(channels, 1.5, np.float32))
    model.add("BatchNormalization", [x.name, scale, shift, mean, spread], ("float32", x.shape, x.bound + 2, False))


def _layer_normalise(model: RandomModel) -> None:
    x = model.pick("float32")
    if x is not None and len(x.shape) > 1 and x.inner[-1] > 1:
        scale, shift = (model.weights("float32", x.inner[-1]) for _ in range(2))
        model.add("LayerNormalization", [x.name, scale, shift], ("float32", x.shape, 8.0, False), axis=-1, epsilon=0.1)


def _matmul(model: RandomModel) -> None:
    x = model.pick("float32")
    if x is None or len(x.shape) < 2 or x.inner[-1] > 160:
        return
    weights = model.weights("float32", x.inner[-1], 6, scale=0.25)
    model.add("MatMul", [x.name, weights], ("float32", (*x.shape[:-1], 6), x.bound * x.inner[-1] / 4, False))


def _gemm(model: RandomModel) -> None:
    x = model.pick("float32", rank=2)
    if x is not None and x.inner[-1] <= 160:
        weights, bias = model.weights("float32", 5, x.inner[-1], scale=0.25), model.weights("float32", 5)
        result = ("float32", (x.shape[0], 5), x.bound * x.inner[-1] / 4 + 1, False)
        model.add("Gemm", [x.name, weights, bias], result, transB=1, alpha=0.5)


def _softmax(model: RandomModel) -> None:
    x = model.pick("float32")
    if x is not None and len(x.shape) > 1:
        model.add("Softmax", [x.name], ("float32", x.shape, 1.0, False), axis=-1)


def _gelu(model: RandomModel) -> None:
    x = model.pick("float32")
    if x is not None:
        model.add("Gelu", [x.name], ("float32", x.shape, x.bound, False), domain="com.microsoft")


def _fused_product(model: RandomModel) -> None:
    x = model.pick("float32", rank=2)
    if x is not None and x.inner[-1] <= 160:
        weights = model.weights("float32", x.inner[-1], 3, scale=0.25)
        result = ("float32", (x.shape[0], 3), x.bound * x.inner[-1] / 8, False)
        model.add("FusedMatMul", [x.name, weights], result, domain="com.microsoft", alpha=0.5)


MAKERS: tuple[Maker, ...] = (
    _unary("Relu", exact=True),
    _unary("Tanh", 1.0),
    _unary("Sigmoid", 1.0),
    _unary("Neg", exact=True),
    _unary("Abs", exact=True),
    _unary("LeakyRelu", alpha=0.25),
    _unary("Erf", 1.0, dtypes=("float32",)),
    _unary("Softplus", BOUND, dtypes=("float32",)),
    _binary("Add", lambda x, y: x + y),
    _binary("Sub", lambda x, y: x + y),
    _binary("Mul", lambda x, y: x * y),
    _binary("Max", max, exact=True),
    _binary("Min", max, exact=True),
    _integers("Add"),
    _integers("Mul"),
    _integers("Mod"),
    _bytes("Min"),
    _bytes("Max"),
    _widen,
    _between_floats,
    _flatten,
    _transpose,
    _concat,
    _split,
    _slice,
    _gather,
    _unsqueeze,
    _pad,
    _reduce("ReduceMean"),
    _reduce("ReduceSum"),
    _reduce("ReduceMax"),
    _conv,
    _conv,
    _pool,
    _global_pool,
    _normalise,
    _layer_normalise,
    _matmul,
    _gemm,
    _softmax,
)

JUMPS: tuple[Maker, ...] = (_step("Floor"), _step("Round"), _step("Sign"), _narrow, _compare, _compare, _logic, _where, _choose, _largest)

FALLBACK_MAKERS: tuple[Maker, ...] = (_gelu, _fused_product)
