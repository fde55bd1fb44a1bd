"""Make the call of an offline model in a program: its bindings, checked against the model's signature at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from landbridge.frontends.nn import output_types
from landbridge.ir.body import Binding
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


def call_offline(model: ExternModel, device: Device, symbol: str, arguments: Sequence[Any], outputs: int, place: Place) -> OfflineCall:
    """Return the call of ``model`` on ``arguments``.

    Args:
        outputs: how many results the program takes.

    Raises:
        SignatureError: number, dtypes or shapes of the arguments are not what the model takes.
        UsageError: ``device`` is not of the vendor's kind.
    """
    entry = extern_entry(model, device)
    ports = model.signature.outputs
    if outputs != len(ports):
        names = ", ".join(f"'{port.name}'" for port in ports)
        raise SignatureError(f"{model.name}, outputs: found {outputs}, expected {len(ports)}: {names}", at=str(place))
    info = ModuleInfo({EXTERNS: {symbol: entry}, NAMES: {**place.names, symbol: place.value}, MODEL: place.model})
    unchecked = relax.Var(symbol, tvm.ir.TupleType([]))
    call = relax.call_dps_packed(symbol, relax.Tuple(list(arguments)), out_ty=[])
    problems = [found for found in call_mismatches(info, Binding(unchecked, call), converting=True) if found.aspect != "output"]
    if problems:
        lines = "; ".join(found.message for found in problems)
        raise SignatureError(lines, at=problems[0].at, hint="; ".join(dict.fromkeys(found.fix for found in problems)))
    types = output_types(model.signature, arguments, at=model.name)
    call = relax.call_dps_packed(symbol, relax.Tuple(list(arguments)), out_ty=types)
    if len(types) == 1:
        whole = relax.Var(symbol, types[0])
        return OfflineCall((Binding(whole, call),), (whole,), entry)
    whole = relax.Var(symbol, tvm.ir.TupleType(types))
    parts = [Binding(relax.Var(f"{symbol}_{i}", found), relax.TupleGetItem(whole, i)) for i, found in enumerate(types)]
    return OfflineCall((Binding(whole, call), *parts), tuple(part.var for part in parts), entry)
