"""The fewest crossings with which a program can run, from the definition; nothing of the passes is in it.

A copy is its source; a conversion to the type that a value has already is the value; a conversion of a conversion is one of the first
value where the type between holds every value of the first exactly; equal conversions of a value are one value. Conversions and
operators are on the CPU, offline models on their devices. Each value that an output depends on must come from where it is made to
every place where it is read; all ways lead over the CPU, and a value needs each link of them once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

CPU = "cpu"

Key = tuple[Any, ...]
"""A value: ("input" | "constant" | "result", expression, index path), or ("cast", key, dtype)."""


@dataclass(frozen=True)
class Crossings:
    """How many values cross links, and how many bytes."""

    number: int
    nbytes: int


def copies_of(module: tvm.IRModule, dims: dict[str, int]) -> Crossings:
    """Return what the copies that ``module`` has move."""
    moved = [binding.var.ty for binding in _bindings(module) if _operator(binding.value) == "relax.to_vdevice"]
    return Crossings(len(moved), sum(_nbytes(value_type, str(value_type.dtype), dims) for value_type in moved))


def fewest(module: tvm.IRModule, dims: dict[str, int]) -> Crossings:
    """Return the least that any legal placement of ``module`` moves."""
    return _Counter(module, dims).count()


class _Counter:
    def __init__(self, module: tvm.IRModule, dims: dict[str, int]) -> None:
        self.module, self.dims = module, dims
        self.made_by = {binding.var: binding.value for binding in _bindings(module)}
        self.places: dict[Key, dict[str, None]] = {}

    def count(self) -> Crossings:
        outputs = self.module["main"].body.body
        wishes = [str(wish[1]) for wish in self.module.attrs["landbridge.outputs"]]
        for output, wish in zip(outputs.fields, wishes, strict=True):
            self.need(self.key(output), wish or CPU)
        crossed = [(key, link) for key, places in self.places.items() for link in self.links(self.home(key), places)]
        return Crossings(len(crossed), sum(self.nbytes(key) for key, _ in crossed))

    def key(self, expr: Any, path: tuple[int, ...] = ()) -> Key:
        """Return the value that part ``path`` of an expression is."""
        while True:
            if isinstance(expr, relax.TupleGetItem):
                expr, path = expr.tuple_value, (expr.index, *path)
            elif isinstance(expr, relax.Tuple):
                expr, path = expr.fields[path[0]], path[1:]
            elif isinstance(expr, relax.Call) and _operator(expr) == "relax.to_vdevice":
                expr = expr.args[0]
            elif isinstance(expr, relax.Call) and _operator(expr) == "relax.astype":
                return self.cast(self.key(expr.args[0]), str(expr.attrs.dtype))
            elif isinstance(expr, tvm.ir.Constant):
                return ("constant", expr, path)
            elif expr not in self.made_by:
                return ("input", expr, path)
            elif isinstance(self.made_by[expr], relax.Call) and _operator(self.made_by[expr]) not in ("relax.to_vdevice", "relax.astype"):
                return ("result", expr, path)
            else:
                expr = self.made_by[expr]

    def cast(self, key: Key, dtype: str) -> Key:
        if key[0] == "cast" and holds_all(self.dtype(key[1]), key[2]):
            return self.cast(key[1], dtype)
        return key if self.dtype(key) == dtype else ("cast", key, dtype)

    def need(self, key: Key, place: str) -> None:
        """Note that a value is read at ``place``; when it is new, so is the need for what it is made of."""
        waiting = [(key, place)]
        while waiting:
            key, place = waiting.pop()
            known = key in self.places
            self.places.setdefault(key, {})[place] = None
            if known:
                continue
            if key[0] == "cast":
                waiting.append((key[1], CPU))
            elif key[0] == "result":
                waiting += self.operands(self.made_by[key[1]])

    def operands(self, call: Any) -> list[tuple[Key, str]]:
        if _operator(call) == "relax.call_dps_packed":
            entry = self.module.attrs["landbridge.externs"][call.args[0].global_symbol]
            ports = entry["signature"]["inputs"]
            given = call.args[1].fields
            return [
                (self.cast(self.key(value), str(port["dtype"])), str(entry["device"])) for value, port in zip(given, ports, strict=True)
            ]
        return [(key, CPU) for argument in call.args for key in self.leaves(argument)]

    def leaves(self, expr: Any) -> list[Key]:
        if isinstance(expr, relax.Tuple):
            return [key for field in expr.fields for key in self.leaves(field)]
        if isinstance(expr.ty, tvm.ir.TupleType):
            return [self.key(expr, (index,)) for index in range(len(expr.ty.fields))]
        return [self.key(expr)] if isinstance(expr.ty, relax.TensorType) else []

    def home(self, key: Key) -> str:
        if key[0] == "input":
            vdevice = key[1].ty.vdevice
            on_cpu = vdevice is None or vdevice.target.kind.name == "llvm"
            return CPU if on_cpu else f"{vdevice.memory_scope}{vdevice.vdevice_id}"
        if key[0] == "result" and _operator(self.made_by[key[1]]) == "relax.call_dps_packed":
            return str(self.module.attrs["landbridge.externs"][self.made_by[key[1]].args[0].global_symbol]["device"])
        return CPU

    def links(self, home: str, places: dict[str, None]) -> list[tuple[str, str]]:
        elsewhere = [place for place in places if place != home]
        out = [(home, CPU)] if elsewhere and home != CPU else []
        return out + [(CPU, place) for place in elsewhere if place != CPU]

    def type_of(self, key: Key) -> Any:
        of_type = key[1].ty
        for index in key[2]:
            of_type = of_type.fields[index]
        return of_type

    def dtype(self, key: Key) -> str:
        return str(key[2]) if key[0] == "cast" else str(self.type_of(key).dtype)

    def nbytes(self, key: Key) -> int:
        dtype = self.dtype(key)
        while key[0] == "cast":
            key = key[1]
        return _nbytes(self.type_of(key), dtype, self.dims)


def holds_all(source: str, target: str) -> bool:
    """Return whether ``target`` has every value of ``source``."""
    a, b = np.dtype(source), np.dtype(target)
    if a.kind == "f":
        return b.kind == "f" and b.itemsize >= a.itemsize
    low, high = (0, 1) if a.kind == "b" else (np.iinfo(a).min, np.iinfo(a).max)
    if b.kind == "f":
        exact = 2 ** (np.finfo(b).nmant + 1)
        return bool(-exact <= low and high <= exact)
    return a == b if b.kind == "b" else bool(np.iinfo(b).min <= low and high <= np.iinfo(b).max)


def _bindings(module: tvm.IRModule) -> list[Any]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]


def _operator(value: Any) -> str:
    return str(value.op.name) if isinstance(value, relax.Call) else ""


def _nbytes(value_type: Any, dtype: str, dims: dict[str, int]) -> int:
    extents = [int(e.value) if isinstance(e, tvm.tirx.IntImm) else dims[e.name] for e in value_type.shape.values]
    return int(np.prod(extents, dtype=np.int64)) * np.dtype(dtype).itemsize
