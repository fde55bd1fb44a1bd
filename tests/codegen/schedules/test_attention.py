from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.attention import Attention
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, only_kernel
from support.other_targets import X86_64_V3, OnTargets

_random = np.random.default_rng(17)


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def _number(value: float) -> Any:
    return relax.const(np.array(value, "float32"))


def _attention(*tensors: Array, steps: Callable[[Array], Array] = lambda scores: scores) -> Array:
    """Return attention in float64; what a row without any key gives is NaN."""
    query, key, value = (array.astype("float64") for array in tensors)
    scores = steps(query @ key.swapaxes(-1, -2))
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed: Array = weights / weights.sum(axis=-1, keepdims=True) @ value
    return mixed


def _plain(emit: Any, query: Any, key: Any, value: Any, *, step: Callable[[Any, Any], Any] = lambda emit, scores: scores) -> Any:
    axes = [*range(len(key.ty.shape) - 2), len(key.ty.shape) - 1, len(key.ty.shape) - 2]
    scores = step(emit, emit(op.matmul(query, emit(op.permute_dims(key, axes)))))
    return op.matmul(emit(op.nn.softmax(scores, axis=-1)), value)


SIZES = [(4, 1, 1, 1), (5, 9, 64, 64), (16, 16, 16, 16), (33, 70, 12, 20), (64, 64, 64, 64), (70, 33, 8, 3), (130, 300, 24, 40)]
"""Queries, keys, numbers of a query and numbers of a value: less than a vector and more, with and without something left over."""


def _of_sizes() -> list[Case]:
    found = []
    for queries, keys, inner, width in SIZES:
        arrays = [_floats(2, 3, queries, inner), _floats(2, 3, keys, inner), _floats(2, 3, keys, width)]
        name = f"{queries}x{keys}x{inner}x{width}"
        found.append(case(name, arrays, _plain, _attention(*arrays)))
        named = {(0, 2): f"q{name}", (1, 2): f"k{name}", (2, 2): f"k{name}"} | {(i, 0): f"b{name}" for i in range(3)}
        found.append(case(f"named_{name}", arrays, _plain, _attention(*arrays), named))
    arrays = [_floats(2, 20, 8) for _ in range(3)]
    found.append(case("rank_3", arrays, _plain, _attention(*arrays)))
    arrays = [_floats(20, 8) for _ in range(3)]
    found.append(case("rank_2", arrays, _plain, _attention(*arrays)))
    shared = [_floats(2, 3, 20, 8), _floats(2, 1, 24, 8), _floats(1, 1, 24, 8)]
    found.append(case("shared_keys", shared, _plain, _attention(*shared)))
    none = [_floats(2, 3, 5, 8), _floats(2, 3, 0, 8), _floats(2, 3, 0, 8)]
    found.append(case("no_keys", none, _plain, np.zeros((2, 3, 5, 8)), {(1, 2): "no_keys", (2, 2): "no_keys"}))
    found.append(case("no_queries", [none[1], none[0], none[0]], _plain, none[1], {(0, 2): "no_queries"}))
    return found


def _masks() -> dict[str, Array]:
    causal = np.where(np.tril(np.ones((1, 1, 37, 50), bool), 13), 0, -np.inf).astype("float32")
    keys = np.where(_random.random((2, 1, 1, 50)) < 0.5, np.finfo("float32").min, 0).astype("float32")
    full = _floats(2, 3, 37, 50)
    full[:, :, 5], full[:, :, 7, 3:] = -np.inf, -np.inf  # a row without any key, and one with three
    lowest = np.full((1, 1, 37, 50), np.finfo("float32").min)
    return {"causal": causal, "keys": keys, "full": full, "lowest": lowest, "of_rank_1": _floats(50)}


def _of_steps() -> list[Case]:
    arrays = [_floats(2, 3, 37, 8), _floats(2, 3, 50, 8), _floats(2, 3, 50, 8)]
    scale = 1 / math.sqrt(8)
    found = [
        case(
            "scaled",
            arrays,
            lambda e, *x: _plain(e, *x, step=lambda e, s: e(op.multiply(s, _number(scale)))),
            _attention(*arrays, steps=lambda s: s * scale),
        ),
        case(
            "divided",
            arrays,
            lambda e, *x: _plain(e, *x, step=lambda e, s: e(op.divide(s, _number(2.5)))),
            _attention(*arrays, steps=lambda s: s / 2.5),
        ),
    ]
    for name, mask in _masks().items():

        def masked(emit: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
            return _plain(emit, query, key, value, step=lambda e, s: e(op.add(e(op.multiply(s, _number(scale))), mask)))

        found.append(case(f"masked_{name}", [*arrays, mask], masked, _attention(*arrays, steps=lambda s, mask=mask: s * scale + mask)))  # type: ignore[misc]  # bound now
    chosen = _random.random((2, 1, 37, 50)) < 0.8

    def where(emit: Any, query: Any, key: Any, value: Any, chosen: Any) -> Any:
        return _plain(emit, query, key, value, step=lambda e, s: e(op.where(chosen, s, _number(-1e9))))

    found.append(case("chosen", [*arrays, chosen], where, _attention(*arrays, steps=lambda s: np.where(chosen, s, -1e9))))
    return found


def _heads(array: Array, heads: int) -> Array:
    return array.reshape(*array.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _of_views() -> list[Case]:
    flat = [_floats(2, 21, 32), _floats(2, 30, 32), _floats(2, 30, 32)]

    def split(emit: Any, query: Any, key: Any, value: Any) -> Any:
        parts = [emit(op.reshape(x, [x.ty.shape[0], x.ty.shape[1], 4, 8])) for x in (query, key, value)]
        query, key, value = (
            emit(op.permute_dims(x, axes)) for x, axes in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
        )
        query, key = (emit(op.multiply(x, _number(0.5))) for x in (query, key))
        mixed = emit(op.matmul(emit(op.nn.softmax(emit(op.matmul(query, key)), axis=-1)), value))
        return op.permute_dims(mixed, [0, 2, 1, 3])

    expected = _attention(*(_heads(array, 4) for array in flat), steps=lambda s: s / 4).transpose(0, 2, 1, 3)
    named = {(0, 1): "split_q", (1, 1): "split_k", (2, 1): "split_k"} | {(i, 0): "split_b" for i in range(3)}

    def first(emit: Any, query: Any, key: Any, value: Any) -> Any:  # as PyTorch has it: places first, heads and batches one axis
        parts = [emit(op.permute_dims(emit(op.reshape(x, [17, 8, 6])), [1, 0, 2])) for x in (query, key, value)]
        mixed = emit(_plain(emit, *(emit(op.reshape(x, [2, 4, 17, 6])) for x in parts)))
        return op.permute_dims(mixed, [2, 0, 1, 3])

    places = [_floats(17, 2, 24) for _ in range(3)]
    in_heads = [array.reshape(17, 8, 6).transpose(1, 0, 2).reshape(2, 4, 17, 6) for array in places]

    def grouped(emit: Any, query: Any, key: Any, value: Any) -> Any:  # two heads of queries to one of keys
        key, value = (emit(op.broadcast_to(emit(op.reshape(x, [2, 2, 1, 12, 8])), [2, 2, 2, 12, 8])) for x in (key, value))
        return _plain(emit, query, *(emit(op.reshape(x, [2, 4, 12, 8])) for x in (key, value)))

    groups = [_floats(2, 4, 12, 8), _floats(2, 2, 12, 8), _floats(2, 2, 12, 8)]

    def values_turned(emit: Any, query: Any, key: Any, value: Any) -> Any:
        return _plain(emit, query, key, emit(op.permute_dims(value, [0, 2, 1])))

    turned = [_floats(2, 20, 8), _floats(2, 20, 8), _floats(2, 12, 20)]
    return [
        case("split", flat, split, expected),
        case("named_split", flat, split, expected, named),
        case("places_first", places, first, _attention(*in_heads).transpose(2, 0, 1, 3)),
        case("grouped", groups, grouped, _attention(groups[0], *(np.repeat(x, 2, axis=1) for x in groups[1:]))),
        case("values_turned", turned, values_turned, _attention(*turned[:2], turned[2].transpose(0, 2, 1))),
    ]


CASES = [*_of_sizes(), *_of_steps(), *_of_views()]


ON_TARGETS = OnTargets(CASES, compute)


@pytest.mark.parametrize(("target", "one"), ON_TARGETS.params())
def test_attention_is_right(target: str | None, one: Case) -> None:
    found = ON_TARGETS.results(target, one)[one.name]
    assert found.shape == one.expected.shape
    # scores of up to 40, of which the exponential has the absolute error, and sums of at most 300 products
    np.testing.assert_allclose(found, one.expected, rtol=2e-5, atol=1e-5)


def _scheduled(*shapes: Any) -> str:
    target = resolve_target(X86_64_V3).tvm
    return str(Attention().apply(only_kernel(_plain, shapes, target), target).script())  # type: ignore[union-attr]  # it takes it


def test_much_attention_is_spread_over_threads_and_little_is_not() -> None:
    texts = [_scheduled(*[(1, 2, places, 32)] * 3) for places in (32, 64)]
    assert ["parallel" in text for text in texts] == [False, True]


@pytest.mark.parametrize(("keys", "queries"), [(100, 64), (4096, 32), (100_000, 8)])
def test_the_scores_of_a_block_fit_into_cache(keys: int, queries: int) -> None:
    assert re.search(rf"scores\w* = T.sblock_alloc_buffer\(\(T.int64\({keys}\), {queries}\)\)", _scheduled((100, 8), (keys, 8), (keys, 8)))


def test_the_rule_declines_other_kernels() -> None:
    target = resolve_target(X86_64_V3).tvm
    for make, shapes in ((lambda emit, x: op.nn.softmax(x), [(4, 8)]), (lambda emit, x, y: op.matmul(x, y), [(4, 8), (8, 6)])):
        assert Attention().apply(only_kernel(make, shapes, target), target) is None
