from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.clean_up import clean_up
from support.host_library import HostRun
from support.placed_programs import build_main, placed

SHAPE = (2, 3, 1, 4)
_random = np.random.default_rng(3)


def _const(number: float, shape: tuple[int, ...] = (), dtype: str = "float32") -> Any:
    return relax.const(np.full(shape, number, dtype))


def _module(make: Any, dtype: str = "float32", shape: Any = SHAPE) -> tvm.IRModule:
    return build_main({"x": (shape, dtype)}, lambda emit, x: [emit(make(emit, x))])


def _left(make: Any, dtype: str = "float32", shape: Any = SHAPE) -> list[str]:
    """Return the operators that are left, without those that nothing reads."""
    module = relax.transform.DeadCodeElimination()(clean_up(_module(make, dtype, shape)))
    return re.findall(r"= R\.([a-z_0-9.]+)\(", str(module["main"].script()))


def _twice(first: Any, second: Any) -> Any:
    return lambda emit, x: second(emit(first(x)))


NOTHING = {
    "times one": lambda emit, x: op.multiply(x, _const(1)),
    "one times": lambda emit, x: op.multiply(_const(1, (4,)), x),
    "by one": lambda emit, x: op.divide(x, _const(1, (1, 1))),
    "minus zero": lambda emit, x: op.subtract(x, _const(0)),
    "plus zero": lambda emit, x: op.add(x, _const(0)),
    "minus zero plus": lambda emit, x: op.add(_const(-0.0), x),
    "negated twice": _twice(op.negative, op.negative),
    "transposed and back": _twice(lambda x: op.permute_dims(x, [1, 3, 0, 2]), lambda y: op.permute_dims(y, [2, 0, 3, 1])),
    "transposed to itself": lambda emit, x: op.permute_dims(x, [0, 1, 2, 3]),
    "reversed twice": _twice(op.permute_dims, op.permute_dims),
    "reshaped to itself": lambda emit, x: op.reshape(x, SHAPE),
    "reshaped and back": _twice(lambda x: op.reshape(x, (6, 4)), lambda y: op.reshape(y, SHAPE)),
    "cast to itself": lambda emit, x: op.astype(x, "float32"),
    "cast to wider and back": _twice(lambda x: op.astype(x, "float64"), lambda y: op.astype(y, "float32")),
}
"""What changes no bit."""


@pytest.mark.parametrize("name", NOTHING)
def test_what_changes_nothing_goes(name: str) -> None:
    assert _left(NOTHING[name]) == []


SIMPLER = {
    "relu twice": (_twice(op.nn.relu, op.nn.relu), ["nn.relu"]),
    "two transposes": (
        _twice(lambda x: op.permute_dims(x, [1, 0, 2, 3]), lambda y: op.permute_dims(y, [0, 3, 1, 2])),
        ["permute_dims"],
    ),
    "three transposes": (
        lambda emit, x: op.permute_dims(emit(op.permute_dims(emit(op.permute_dims(x, [1, 0, 2, 3])), [3, 2, 1, 0])), [1, 0, 2, 3]),
        ["permute_dims"],
    ),
    "a transpose of an axis of one": (lambda emit, x: op.permute_dims(x, [0, 2, 1, 3]), ["reshape"]),
    "two reshapes": (_twice(lambda x: op.reshape(x, (6, 4)), lambda y: op.reshape(y, (4, 6))), ["reshape"]),
    "two casts": (_twice(lambda x: op.astype(x, "float64"), lambda y: op.astype(y, "float16")), ["astype"]),
}


@pytest.mark.parametrize("name", SIMPLER)
def test_what_repeats_or_undoes_is_joined(name: str) -> None:
    make, expected = SIMPLER[name]
    assert _left(make) == expected


STAYS = {
    "zero minus": lambda emit, x: op.subtract(_const(0, SHAPE), x),
    "one divided by": lambda emit, x: op.divide(_const(1, SHAPE), x),
    "times one and a half": lambda emit, x: op.multiply(x, relax.const(np.array([1, 1, 1, 1.5], "float32"))),
    "times one to another shape": lambda emit, x: op.multiply(x, _const(1, (5, 1, 1, 1, 1))),
    "a real transpose": lambda emit, x: op.permute_dims(x, [0, 3, 2, 1]),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_changes_something_stays(name: str) -> None:
    assert len(_left(STAYS[name])) == 1


def test_a_cast_that_loses_something_stays() -> None:
    assert _left(_twice(lambda x: op.astype(x, "float16"), lambda y: op.astype(y, "float32"))) == ["astype", "astype"]
    assert _left(_twice(lambda x: op.astype(x, "int32"), lambda y: op.astype(y, "float32"))) == ["astype", "astype"]


def test_integers_are_cleaned_as_floats_are() -> None:
    assert _left(lambda emit, x: op.add(_const(0, dtype="int32"), x), "int32") == []


def test_open_dimensions_are_compared_by_what_they_are() -> None:
    assert _left(lambda emit, x: op.multiply(x, _const(1)), shape=("n", 4)) == []
    assert _left(lambda emit, x: op.permute_dims(x, [1, 0]), shape=("n", 4)) == ["permute_dims"]
    assert _left(lambda emit, x: op.permute_dims(x, [1, 0]), shape=("n", 1)) == ["reshape"]


def test_a_call_that_others_read_stays_for_them() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        turned = emit(op.permute_dims(x, [1, 0]))
        return [emit(op.permute_dims(turned, [1, 0])), turned]

    module = clean_up(build_main({"x": ((2, 3), "float32")}, make))
    assert len(re.findall(r"R\.permute_dims", str(relax.transform.DeadCodeElimination()(module).script()))) == 1


def _bits(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _run(makes: list[Any], x: Any) -> list[Any]:
    """Return what a compiled program gives whose results these are."""
    names = [f"y{index}" for index in range(len(makes))]
    module = build_main({"x": (SHAPE, "float32")}, lambda emit, value: [emit(make(emit, value)) for make in makes])
    found = HostRun(build(placed(module, outputs=names), name="cleaned"))(x=x)
    return [found[name] for name in names]


def _example() -> Any:
    x = _random.standard_normal(SHAPE).astype("float32")
    x[0, 0, 0] = [0.0, -0.0, np.inf, -np.inf]
    return x


def test_results_that_are_the_input_have_its_bits() -> None:
    x = _example()
    assert [_bits(found) == _bits(x) for found in _run(list(NOTHING.values()), x)] == [True] * len(NOTHING)


def test_compiled_results_are_numpys() -> None:
    x = _example()
    expected = {
        "relu twice": np.maximum(x, 0),
        "two transposes": x.transpose(1, 0, 2, 3).transpose(0, 3, 1, 2),
        "three transposes": x.transpose(1, 0, 2, 3).transpose(3, 2, 1, 0).transpose(1, 0, 2, 3),
        "a transpose of an axis of one": x.transpose(0, 2, 1, 3),
        "two reshapes": x.reshape(4, 6),
        "two casts": x.astype("float16"),
    }
    for found, name in zip(_run([SIMPLER[name][0] for name in expected], x), expected, strict=True):
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
