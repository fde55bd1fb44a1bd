from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.simplify import simplify
from support.kernels import case, compute
from support.placed_programs import build_main

_random = np.random.default_rng(8)
_IMAGE = (2, 4, 6, 6)
_WEIGHT = _random.standard_normal((3, 4, 3, 3)).astype("float32")
_STATISTICS = tuple(np.abs(_random.standard_normal(3)).astype("float32") + 0.5 for _ in range(4))


def _operators(make: Any, *shapes: Any) -> list[str]:
    """Return the operators that are left, without those that nothing reads."""
    inputs = {f"x{i}": (shape, "float32") for i, shape in enumerate(shapes)}
    module = simplify(build_main(inputs, lambda emit, *params: [emit(make(emit, *params))]))
    module = relax.transform.DeadCodeElimination()(module)
    return re.findall(r"= R\.([a-z_0-9.]+)\(", str(module["main"].script()))


def _normalised(emit: Any, x: Any) -> Any:
    call = op.nn.batch_norm(x, *(relax.const(array) for array in _STATISTICS), axis=1)
    return relax.TupleGetItem(emit(call), 0)


def _convolved(emit: Any, x: Any) -> Any:
    return emit(op.nn.conv2d(x, relax.const(_WEIGHT), padding=1))


def _with_bias(emit: Any, x: Any) -> Any:
    return emit(op.add(_convolved(emit, x), relax.const(np.arange(3, dtype="float32").reshape(1, 3, 1, 1))))


def test_normalisation_goes_into_the_weight_before_it() -> None:
    assert _operators(lambda emit, x: _normalised(emit, _convolved(emit, x)), _IMAGE) == ["nn.conv2d", "add"]


def test_a_bias_before_normalisation_goes_into_the_one_after_it() -> None:
    assert _operators(lambda emit, x: _normalised(emit, _with_bias(emit, x)), _IMAGE) == ["nn.conv2d", "add"]


def test_a_convolution_that_others_read_keeps_its_weight() -> None:
    def make(emit: Any, x: Any) -> Any:
        y = _convolved(emit, x)
        return op.add(emit(_normalised(emit, y)), y)

    assert _operators(make, _IMAGE) == ["nn.conv2d", "multiply", "add", "add"]


def test_normalisation_of_an_input_is_a_multiplication_and_an_addition() -> None:
    assert _operators(_normalised, (2, 3, 5)) == ["multiply", "add"]


_PER_CHANNEL = np.array([0.5, -2.0, 3.0], "float32").reshape(3, 1, 1)


def _scaled(emit: Any, x: Any, factor: Any = _PER_CHANNEL, term: Any = _PER_CHANNEL) -> Any:
    return emit(op.add(emit(op.multiply(relax.const(factor), x)), relax.const(term)))


def test_what_follows_normalisation_goes_into_the_weight_too() -> None:
    assert _operators(lambda emit, x: _scaled(emit, _normalised(emit, _with_bias(emit, x))), _IMAGE) == ["nn.conv2d", "add"]
    scalar = np.array(2.0, "float32")
    assert _operators(lambda emit, x: _scaled(emit, _convolved(emit, x), scalar), _IMAGE) == ["nn.conv2d", "add"]


_CONVOLUTIONS = [
    (op.nn.conv1d, (2, 4, 9), (3, 4, 3), {}),
    (op.nn.conv3d, (1, 4, 5, 6, 5), (3, 4, 3, 3, 3), {}),
    (op.nn.conv2d, (2, 6, 6, 6), (3, 2, 3, 3), {"groups": 3}),
    (op.nn.conv1d_transpose, (2, 4, 9), (4, 3, 3), {}),
    (op.nn.conv2d_transpose, (2, 4, 6, 6), (4, 3, 2, 2), {"strides": 2}),
    (op.nn.conv3d_transpose, (1, 4, 3, 4, 3), (4, 3, 2, 2, 2), {}),
]


@pytest.mark.parametrize(("operator", "image", "weight", "options"), _CONVOLUTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_all_convolutions_take_what_follows_into_their_weights(operator: Any, image: Any, weight: Any, options: Any) -> None:
    x, filters = _random.standard_normal(image).astype("float32"), _random.standard_normal(weight).astype("float32")
    channels = _PER_CHANNEL.reshape(3, *[1] * (len(image) - 2))

    def convolved(emit: Any, x: Any) -> Any:
        return emit(operator(x, relax.const(filters), **options))

    def scaled(emit: Any, x: Any) -> Any:
        return _scaled(emit, convolved(emit, x), channels, channels)

    assert _operators(scaled, image) == [f"nn.{operator.__name__}", "add"]
    found = compute([case("plain", [x], convolved, x), case("scaled", [x], scaled, x)])
    np.testing.assert_allclose(found["scaled"], found["plain"] * channels + channels, rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_in_groups_keeps_its_weight() -> None:
    def scaled(emit: Any, x: Any) -> Any:
        y = emit(op.nn.conv2d_transpose(x, relax.const(np.ones((3, 1, 2, 2), "float32")), groups=3))
        return _scaled(emit, y)

    assert _operators(scaled, (2, 3, 6, 6)) == ["nn.conv2d_transpose", "multiply", "add"]


def test_steps_with_constants_that_follow_each_other_become_one_of_each() -> None:
    image = (2, 3, 6, 6)
    assert _operators(lambda emit, x: _scaled(emit, _scaled(emit, x)), image) == ["multiply", "add"]
    assert _operators(lambda emit, x: _scaled(emit, emit(_normalised(emit, x))), image) == ["multiply", "add"]
    assert _operators(lambda emit, x: _normalised(emit, _scaled(emit, x)), image) == ["multiply", "add"]


def test_a_step_that_others_read_is_computed_as_it_stands() -> None:
    def make(emit: Any, x: Any) -> Any:
        y = _scaled(emit, x)
        return op.add(_scaled(emit, y), y)

    assert _operators(make, (2, 3, 6, 6)) == ["multiply", "add", "multiply", "add", "add"]


def test_constants_that_would_grow_or_lose_digits_together_stay_apart() -> None:
    row = np.ones((1, 1, 6), "float32")
    assert _operators(lambda emit, x: _scaled(emit, _scaled(emit, x), row, row), (2, 3, 6, 6)) == ["multiply", "add"] * 2
    for extreme in (1e30, 1e-30):
        many = np.full((3, 1, 1), extreme, "float32")
        assert _operators(lambda emit, x, many=many: _scaled(emit, _scaled(emit, x, many), many), (2, 3, 6, 6)) == ["multiply", "add"] * 2
    mask = np.full((3, 1, 1), -np.inf, "float32")
    assert _operators(lambda emit, x: op.add(_scaled(emit, x, term=mask), relax.const(_PER_CHANNEL)), (2, 3, 6, 6)) == [
        "multiply",
        "add",
        "add",
    ]


def test_weights_that_have_faded_away_do_not_keep_a_factor_out() -> None:
    faded = _WEIGHT.copy()
    faded[0, 0] = 1e-42  # as decay leaves them

    def make(emit: Any, x: Any) -> Any:
        return _scaled(emit, emit(op.nn.conv2d(x, relax.const(faded), padding=1)), term=np.full((3, 1, 1), 1e-42, "float32"))

    assert _operators(make, _IMAGE) == ["nn.conv2d", "add"]


def test_weights_that_would_be_infinite_stay_as_they_are() -> None:
    def make(emit: Any, x: Any) -> Any:
        large = emit(op.nn.conv2d(x, relax.const(np.full_like(_WEIGHT, 1e30)), padding=1))
        return _scaled(emit, large, np.full((3, 1, 1), 1e30, "float32"))

    assert _operators(make, _IMAGE) == ["nn.conv2d", "multiply", "add"]


def test_a_factor_of_each_pixel_stays_behind_a_convolution() -> None:
    pixels = _random.standard_normal((6, 6)).astype("float32")
    assert _operators(lambda emit, x: _scaled(emit, _convolved(emit, x), pixels), _IMAGE) == ["nn.conv2d", "multiply", "add"]


def test_dropout_is_nothing() -> None:
    assert _operators(lambda emit, x: op.nn.relu(emit(relax.TupleGetItem(emit(op.nn.dropout(x, 0.5)), 0))), (2, 3)) == ["nn.relu"]


def test_normalisation_with_statistics_of_the_run_stays() -> None:
    def make(emit: Any, x: Any, mean: Any) -> Any:
        gamma, beta, _, variance = (relax.const(array) for array in _STATISTICS)
        return relax.TupleGetItem(emit(op.nn.batch_norm(x, gamma, beta, mean, variance, axis=1)), 0)

    assert _operators(make, (2, 3, 5), (3,)) == ["nn.batch_norm"]


def test_a_sum_of_stacked_tensors_becomes_additions() -> None:
    def make(emit: Any, *x: Any) -> Any:
        return op.sum(emit(op.stack(list(x), axis=0)), axis=[0])

    assert _operators(make, (2, 3), (2, 3), (2, 3)) == ["add", "add"]


@pytest.mark.parametrize("axes", [[1], [0, 1]])
def test_a_sum_over_other_axes_stays(axes: list[int]) -> None:
    assert _operators(lambda emit, x, y: op.sum(emit(op.stack([x, y], axis=0)), axis=axes), (2, 3), (2, 3)) == ["stack", "sum"]


def test_broadcasting_to_the_same_shape_is_nothing() -> None:
    assert _operators(lambda emit, x: op.negative(emit(op.broadcast_to(x, (2, 3)))), (2, 3)) == ["negative"]
    assert _operators(lambda emit, x: op.negative(emit(op.broadcast_to(x, (2, 3)))), (1, 3)) == ["broadcast_to", "negative"]


def test_what_is_computed_stays_the_same() -> None:
    x = _random.standard_normal(_IMAGE).astype("float32")
    gamma, beta, mean, variance = (array[:, None, None].astype("float64") for array in _STATISTICS)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows.astype("float64"), _WEIGHT) + np.arange(3).reshape(1, 3, 1, 1)
    expected = (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    scaled = expected * _PER_CHANNEL + _PER_CHANNEL
    twice = (x[:, :3].astype("float64") * _PER_CHANNEL + _PER_CHANNEL) * _PER_CHANNEL + _PER_CHANNEL
    found = compute(
        [
            case("both", [x], lambda emit, x: _normalised(emit, _with_bias(emit, x)), expected),
            case("scaled", [x], lambda emit, x: _scaled(emit, _normalised(emit, _with_bias(emit, x))), scaled),
            case("twice", [x[:, :3]], lambda emit, x: _scaled(emit, _scaled(emit, x)), twice),
        ]
    )
    np.testing.assert_allclose(found["both"], expected, rtol=1e-4, atol=1e-4)  # sums of 36 products in float32
    np.testing.assert_allclose(found["scaled"], scaled, rtol=1e-4, atol=3e-4)
    np.testing.assert_allclose(found["twice"], twice, rtol=1e-5, atol=1e-5)
