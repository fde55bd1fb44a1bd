"""Declared types against what operators make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from landbridge.ir.body import Binding
from landbridge.ir.devices import VDevices
from landbridge.ir.welltyped import contradictions
from landbridge.runtime.device import CPU, Device

N = tvm.tirx.Var("n", "int64")
V = VDevices()


def _type(shape: Any = (2, 3), dtype: str = "float32", device: Device = CPU) -> Any:
    return V.on(relax.TensorType(shape, dtype), device)


def _var(of_type: Any) -> Any:
    return relax.Var("v", of_type)


X = _var(_type())


def _found(value: Any, declared: Any) -> list[str]:
    return list(contradictions(Binding(_var(declared), value)))


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (relax.op.nn.relu(X), _type()),
        (relax.op.nn.relu(X), relax.TensorType(dtype="float32", ndim=2)),
        (relax.op.nn.relu(X), relax.TensorType((2, 3), "float32")),
        (relax.op.concat([X, _var(_type(device=Device("gpu")))]), _type((4, 3))),
        (relax.op.add(X, _var(_type(device=Device("gpu")))), _type()),
        (relax.op.nn.pad(X, (0, 0, 1, 1)), _type((2, 5))),
        (relax.op.astype(X, "int8"), _type(dtype="int8")),
        (relax.op.to_vdevice(X, V.get(Device("gpu"))), _type(device=Device("gpu"))),
        (relax.op.split(X, 3, axis=1), tvm.ir.TupleType([_type((2, 1))] * 3)),
        (relax.op.add(X, relax.const(np.ones(3, "float32"))), _type()),
        (relax.op.nn.relu(_var(_type((N, 3)))), _type((N * 1, 3))),
        (relax.op.nn.relu(_var(relax.TensorType(dtype="float32", ndim=2))), _type()),
        (relax.call_dps_packed("net", relax.Tuple([X]), out_ty=[_type()]), _type((9,), "int8")),
        (X, _type()),
        (relax.Tuple([X, X]), tvm.ir.TupleType([_type(), _type()])),
    ],
)
def test_what_can_be_true_contradicts_nothing(value: Any, declared: Any) -> None:
    assert _found(value, declared) == []


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        (relax.op.nn.relu(X), _type(dtype="float16"), "is declared as float16 [2, 3], its operator makes float32 [2, 3]"),
        (relax.op.nn.relu(X), _type((2, 3, 1)), "is declared as float32 [2, 3, 1], its operator makes float32 [2, 3]"),
        (relax.op.astype(X, "int8"), _type(dtype="int16"), "is declared as int16 [2, 3], its operator makes int8 [2, 3]"),
        (relax.op.to_vdevice(X, V.get(CPU)), _type((3, 2)), "is declared as float32 [3, 2], its operator makes float32 [2, 3]"),
        (
            relax.op.split(X, 3, axis=1),
            tvm.ir.TupleType([_type((2, 1))] * 2),
            "is declared as (float32 [2, 1], float32 [2, 1]), its operator makes (float32 [2, 1], float32 [2, 1], float32 [2, 1])",
        ),
        (X, _type((3, 2)), "is declared as float32 [3, 2], its operator makes float32 [2, 3]"),
    ],
)
def test_what_cannot_be_true_is_told(value: Any, declared: Any, expected: str) -> None:
    assert _found(value, declared) == [expected]


def test_operands_that_the_operator_refuses() -> None:
    (found,) = _found(relax.op.add(X, _var(_type(dtype="float16"))), _type())
    assert found.startswith("its operator refuses its operands: Binary operators must have the same datatype for both operands.")
