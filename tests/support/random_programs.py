"""Random programs as a front end delivers them: not placed, with everything that placement has to cope with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, is_extern
from landbridge.ir.devices import VDevices
from landbridge.ir.dtypes import convertible, holds, is_float
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, TOPOLOGY, ExternModel, extern_entry
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import SignatureError, UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from support.interpreter import converted

BATCH = "n"
"""The one named dimension of random programs."""

DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32")
TAILS = ((4,), (6,), (2, 3))
DEVICES = tuple(Device(kind, ordinal) for kind in ("gpu", "atlas", "cambricon") for ordinal in (0, 1))


class _PaperVendor(Vendor):
    """A vendor without blobs, drivers and devices."""

    def recognises(self, data: bytes) -> bool:
        return False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        raise SignatureError("the format does not tell", at=self.name)

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        raise UnsupportedError(f"{self.name} has no devices")


class PaperGpu(_PaperVendor):
    name: ClassVar[str] = "paper-gpu"
    device_kind: ClassVar[str] = "gpu"


class PaperAtlas(_PaperVendor):
    name: ClassVar[str] = "paper-atlas"
    device_kind: ClassVar[str] = "atlas"


class PaperCambricon(_PaperVendor):
    name: ClassVar[str] = "paper-cambricon"
    device_kind: ClassVar[str] = "cambricon"


_PAPER = {vendor.device_kind: vendor for vendor in (PaperGpu, PaperAtlas, PaperCambricon)}


@contextmanager
def paper_vendors() -> Iterator[None]:
    """Register a vendor of each kind of device in `DEVICES`."""
    for vendor in _PAPER.values():
        registry.register(vendor())
    try:
        yield
    finally:
        for vendor in _PAPER.values():
            registry.unregister(vendor.name)


@dataclass(frozen=True)
class RandomProgram:
    """A program and what to run it on.

    Attributes:
        module: not placed.
        inputs: an array for each parameter, in order.
        dims: the extent of each named dimension in ``inputs``.
    """

    module: tvm.IRModule
    inputs: tuple[np.ndarray[Any, Any], ...]
    dims: Mapping[str, int]


def random_program(seed: int, operators: int = 60) -> RandomProgram:
    """Return the program of ``seed``; equal arguments give equal programs."""
    return _Maker(random.Random(seed)).program(operators)


def _extern_model(kind: str, symbol: str, signature: Signature) -> ExternModel:
    return ExternModel(_PAPER[kind].name, symbol.encode(), signature, name=f"{symbol}.blob")


class _Maker:
    """The program so far. ``pool`` has the values that operators may read: expressions whose types have no device."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.vdevices = VDevices()
        self.batch: Any = tvm.tirx.Var(BATCH, "int64") if rng.random() < 0.5 else 3
        self.params: list[Any] = []
        self.pool: list[Any] = []
        self.bindings: list[Binding] = []
        self.entries: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.made = 0

    def program(self, operators: int) -> RandomProgram:
        inputs = tuple(self._input(index) for index in range(self.rng.randint(2, 5)))
        self.pool += [self._constant() for _ in range(3)]
        steps: list[tuple[Callable[[], None], int]] = [
            (self._unary, 4),
            (self._binary, 6),
            (self._cast, 4),
            (self._round_trip, 2),
            (self._copy, 3),
            (self._extern, 5),
            (self._call_again, 2),
            (self._reshape, 1),
            (self._concat, 1),
            (self._split, 1),
            (self._constant_operand, 1),
            (self._alias, 1),
        ]
        while len(self.bindings) < operators:
            self.rng.choices([step for step, _ in steps], [weight for _, weight in steps])[0]()
        outputs = [self._pick() for _ in range(self.rng.randint(3, 6 + operators // 8))]
        outputs = list({id(output): output for output in [*outputs, self.pool[-1], self.rng.choice(self.params)]}.values())
        wishes = [[f"out/{i}", str(self.rng.choice((CPU, *DEVICES))) if self.rng.random() < 0.5 else ""] for i in range(len(outputs))]
        attributes = {EXTERNS: self.entries, NAMES: self.names, OUTPUTS: wishes, MODEL: "random.onnx"}
        if self.rng.random() < 0.3:
            attributes[TOPOLOGY] = [["cpu", str(device)] for device in DEVICES]
        body = Body(tuple(self.params), tuple(self.bindings), tuple(outputs))
        return RandomProgram(body.write(tvm.IRModule(), self.vdevices).with_attrs(attributes), inputs, {BATCH: 3})

    def _type(self, dtype: str, tail: tuple[int, ...]) -> Any:
        return relax.TensorType((self.batch, *tail), dtype)

    def _name(self) -> str:
        self.made += 1
        name = f"v{self.made}"
        if self.rng.random() < 0.3:
            self.names[name] = f"/layer{self.made}/act:0"
        return name

    def _emit(self, value: Any, value_type: Any) -> Any:
        variable = relax.Var(self._name(), value_type)
        self.bindings.append(Binding(variable, value))
        self.pool.append(variable)
        return variable

    def _pick(self, accept: Callable[[Any], bool] = lambda value: True) -> Any:
        """Return a value, a recent one more likely than an old one."""
        fitting = [value for value in self.pool if accept(value)]
        return fitting[max(self.rng.randrange(len(fitting)), self.rng.randrange(len(fitting)))] if fitting else None

    def _input(self, index: int) -> np.ndarray[Any, Any]:
        dtype, tail = self.rng.choice(DTYPES), self.rng.choice(TAILS)
        device = self.rng.choice((None, CPU, CPU, CPU, *DEVICES))
        value_type = self._type(dtype, tail)
        self.params.append(relax.Var(f"in{index}", value_type if device is None else self.vdevices.on(value_type, device)))
        self.pool.append(self.params[-1])
        return self._array((3, *tail), dtype)

    def _array(self, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
        numbers = [self.rng.uniform(-20, 20) for _ in range(int(np.prod(shape)))]
        return converted(np.array(numbers, "float64").reshape(shape), dtype)

    def _constant(self) -> Any:
        tail, dtype = self.rng.choice(TAILS), self.rng.choice(DTYPES)
        return relax.const(self._array(tail, dtype), dtype)

    def _unary(self) -> None:
        value = self._pick(lambda value: is_float(_dtype(value)))
        if value is not None:
            operator = self.rng.choice((relax.op.nn.relu, relax.op.negative, relax.op.abs))
            self._emit(operator(value), _bare(value))

    def _binary(self) -> None:
        left = self._pick()
        right = self._pick(lambda value: _alike(value, left))
        operator = self.rng.choice((relax.op.add, relax.op.subtract, relax.op.multiply, relax.op.maximum))
        self._emit(operator(left, right), _bare(left))

    def _constant_operand(self) -> None:
        value = self._pick(lambda value: isinstance(value, relax.Var))
        constant = relax.const(self._array(_tail(value), _dtype(value)), _dtype(value))
        self._emit(relax.op.add(value, constant), _bare(value))

    def _cast(self) -> None:
        value = self._pick()
        dtype = self.rng.choice(DTYPES)
        self._emit(relax.op.astype(value, dtype), relax.TensorType(value.ty.shape, dtype))

    def _round_trip(self) -> None:
        """Widen what an offline model made, copy it about, and give it to one that wants the first type again."""
        parts = [binding.var for binding in self.bindings if is_extern(binding.value) and isinstance(binding.var.ty, relax.TensorType)]
        if not parts:
            return
        value = self.rng.choice(parts)
        wide = self.rng.choice([dtype for dtype in DTYPES if holds(_dtype(value), dtype)])
        there = self._emit(relax.op.astype(value, wide), relax.TensorType(value.ty.shape, wide))
        device = self.rng.choice((CPU, *DEVICES))
        there = self._emit(relax.op.to_vdevice(there, self.vdevices.get(device)), self.vdevices.on(there.ty, device))
        self._emit(relax.op.astype(there, _dtype(value)), _bare(value))

    def _copy(self) -> None:
        value, device = self._pick(), self.rng.choice((CPU, *DEVICES))
        self._emit(relax.op.to_vdevice(value, self.vdevices.get(device)), self.vdevices.on(value.ty, device))

    def _alias(self) -> None:
        value = self._pick(lambda value: isinstance(value, relax.Var))
        self._emit(value, value.ty)

    def _reshape(self) -> None:
        value = self._pick(lambda value: isinstance(value, relax.Var) and int(np.prod(_tail(value))) == 6)
        if value is not None:
            tail = (2, 3) if _tail(value) == (6,) else (6,)
            self._emit(relax.op.reshape(value, relax.ShapeExpr([value.ty.shape.values[0], *tail])), self._type(_dtype(value), tail))

    def _concat(self) -> None:
        left = self._pick(lambda value: len(value.ty.shape.values) == 2 and _tail(value) == (4,))
        if left is None:
            return
        right = self._pick(lambda value: len(value.ty.shape.values) == 2 and _tail(value) == (6,) and _dtype(value) == _dtype(left))
        if right is not None:
            whole = self._emit(relax.op.concat([left, right], axis=1), self._type(_dtype(left), (10,)))
            self.pool.remove(whole)
            self._emit(relax.op.strided_slice(whole, [1], [2], [6]), self._type(_dtype(left), (4,)))

    def _split(self) -> None:
        value = self._pick(lambda value: len(value.ty.shape.values) == 2 and _tail(value) == (4,))
        if value is not None:
            half = self._type(_dtype(value), (2,))
            parts = self._emit(relax.op.split(value, 2, axis=1), tvm.ir.TupleType([half, half]))
            self.pool.remove(parts)
            if self.rng.random() < 0.5:
                self._emit(relax.op.concat(parts, axis=1), self._type(_dtype(value), (4,)))
            else:
                first = self._emit(relax.TupleGetItem(parts, 0), half)
                second = self._emit(relax.TupleGetItem(parts, 1), half)
                self.pool.remove(first)
                self.pool.remove(second)
                self._emit(relax.op.concat([second, first], axis=1), self._type(_dtype(value), (4,)))

    def _extern(self) -> None:
        device = self.rng.choice(DEVICES)
        values = [self._pick() for _ in range(self.rng.randint(1, 3))]
        inputs = [Port(f"in{i}", self._expected(_dtype(value)), _dims(value)) for i, value in enumerate(values)]
        batch: Any = BATCH if any(BATCH in port.shape for port in inputs) else 3
        batch = batch if isinstance(self.batch, int) or batch == BATCH else self.batch
        kinds = [(self.rng.choice(DTYPES), self.rng.choice(TAILS)) for _ in range(self.rng.randint(1, 3))]
        if batch is self.batch and not isinstance(batch, int):
            return  # no input tells the extent of the results
        outputs = [Port(f"out{i}", dtype, (batch, *tail)) for i, (dtype, tail) in enumerate(kinds)]
        symbol = f"model{len(self.entries)}"
        model = _extern_model(device.kind, symbol, Signature(tuple(inputs), tuple(outputs)))
        self.entries[symbol] = extern_entry(model, device)
        self._call(symbol, values)

    def _call_again(self) -> None:
        """Call an offline model that there is with other values."""
        if not self.entries:
            return
        symbol = self.rng.choice(list(self.entries))
        ports = Signature.from_json(self.entries[symbol]["signature"]).inputs
        values = [self._pick(partial(_fits, port)) for port in ports]
        if all(value is not None for value in values):
            self._call(symbol, values)

    def _call(self, symbol: str, values: list[Any]) -> None:
        outputs = Signature.from_json(self.entries[symbol]["signature"]).outputs
        types = [self._type(port.dtype, tuple(int(dim) for dim in port.shape[1:])) for port in outputs]
        call = relax.call_dps_packed(symbol, relax.Tuple(values), out_ty=types)
        if len(types) == 1:
            self._emit(call, types[0])
            return
        results = self._emit(call, tvm.ir.TupleType(types))
        self.pool.remove(results)
        for index, value_type in enumerate(types):
            if self.rng.random() < 0.9:
                self._emit(relax.TupleGetItem(results, index), value_type)

    def _expected(self, dtype: str) -> str:
        """Return the element type of a port that is given ``dtype``: the same, or one that the compiler converts to."""
        return self.rng.choice([dtype, dtype, *[target for target in DTYPES if convertible(dtype, target)]])


def _fits(port: Port, value: Any) -> bool:
    return _dims(value) == port.shape and convertible(_dtype(value), port.dtype)


def _dtype(value: Any) -> str:
    return str(value.ty.dtype)


def _dims(value: Any) -> tuple[int | str, ...]:
    return tuple(int(extent) if isinstance(extent, tvm.tirx.IntImm) else str(extent.name) for extent in value.ty.shape.values)


def _tail(value: Any) -> tuple[int, ...]:
    """The extents behind the batch; of a constant, which has no batch, all."""
    dims = _dims(value)
    return tuple(int(extent) for extent in (dims if isinstance(value, tvm.ir.Constant) else dims[1:]))


def _bare(value: Any) -> Any:
    return relax.TensorType(value.ty.shape, value.ty.dtype)


def _alike(left: Any, right: Any) -> bool:
    return _dtype(left) == _dtype(right) and _dims(left) == _dims(right)
