"""Make the call of an offline model in a program: its bindings, checked against the model's signature at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from landbridge.frontends.output_types import output_types
from landbridge.ir.body import Binding, extern_call
from landbridge.ir.program import EXTERNS, MODEL, NAMES, ExternModel, ModuleInfo, extern_entry
from landbridge.ir.signatures import call_mismatches
from landbridge.runtime.device import Device
from landbridge.runtime.errors import SignatureError


@dataclass(frozen=True)
class Place:
    """Where a call stands.

    Attributes:
        model: the name of the program's model.
        names: the user's names of its variables.
        value: the user's name of the call's first result.
    """

    model: str
    names: Mapping[str, str]
    value: str

    def __str__(self) -> str:
        return f"{self.model}:{self.value}"


@dataclass(frozen=True)
class OfflineCall:
    """A call.

    Attributes:
        bindings: the call, and the parts of its result where it has several.
        outputs: the variable of each output; what they are called is the caller's affair.
        entry: the entry of the offline model in the module's table.
    """

    bindings: tuple[Binding, ...]
    outputs: tuple[Any, ...]
    entry: dict[str, Any]


def call_offline(
    model: ExternModel,
    device: Device,
    symbol: str,
    arguments: Sequence[Any],
    results: int | Sequence[Any],
    place: Place,
    bindings: Sequence[Binding] = (),
) -> OfflineCall:
    """Return the call of ``model`` on ``arguments``.

    Args:
        bindings: the program's so far; a message may name one of their values.
        results: how many results the program takes, or the types of the values that they replace, whose shapes they get.

    Raises:
        SignatureError: number, dtypes or shapes are not those of the signature.
        UsageError: ``device`` is not of the vendor's kind.
    """
    entry = extern_entry(model, device)
    ports = model.signature.outputs
    count = results if isinstance(results, int) else len(results)
    if count != len(ports):
        names = ", ".join(f"'{port.name}'" for port in ports)
        raise SignatureError(f"{model.name}, outputs: found {count}, expected {len(ports)}: {names}", at=str(place), code="LB2108")
    info = ModuleInfo({EXTERNS: {symbol: entry}, NAMES: {**place.names, symbol: place.value}, MODEL: place.model})
    producers = {binding.var: binding for binding in bindings}
    _check(info, _bind(symbol, arguments, []), producers, ("symbol", "arity", "dtype", "shape", "gears", "image"))
    if isinstance(results, int):
        types = output_types(model.signature, arguments, at=model.name)
    else:
        types = [without_device(replaced, port.dtype) for replaced, port in zip(results, ports, strict=True)]
    whole = _bind(symbol, arguments, types)
    _check(info, whole, producers, ("output",))
    if len(types) == 1:
        return OfflineCall((whole,), (whole.var,), entry)
    parts = [Binding(relax.Var(f"{symbol}_{i}", found), relax.TupleGetItem(whole.var, i)) for i, found in enumerate(types)]
    return OfflineCall((whole, *parts), tuple(part.var for part in parts), entry)


def without_device(tensor_type: Any, dtype: str | None = None) -> Any:
    """Return a tensor type that says nothing of its device, perhaps with another element type."""
    if tensor_type.shape is None:
        return relax.TensorType(dtype=dtype or tensor_type.dtype, ndim=tensor_type.ndim)
    return relax.TensorType(tensor_type.shape, dtype or tensor_type.dtype)


def _bind(symbol: str, arguments: Sequence[Any], types: Sequence[Any]) -> Binding:
    result_type = types[0] if len(types) == 1 else tvm.ir.TupleType(list(types))
    return Binding(relax.Var(symbol, result_type), extern_call(symbol, arguments, result_type))


def _check(info: ModuleInfo, binding: Binding, producers: Mapping[Any, Binding], aspects: Sequence[str]) -> None:
    problems = [found for found in call_mismatches(info, binding, producers, converting=True) if found.aspect in aspects]
    if problems:
        fixes = dict.fromkeys("end the region at a value of that shape" if found.aspect == "output" else found.fix for found in problems)
        raise SignatureError("; ".join(found.message for found in problems), at=problems[0].at, hint="; ".join(fixes), code="LB2108")
