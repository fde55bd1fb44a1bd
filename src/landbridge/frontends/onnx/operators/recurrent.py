"""LSTM, GRU and RNN: one matrix product over all steps at once, then a loop over the steps.

The products with the inputs of all steps are one call, as fast as any; what depends on the step before is in one kernel a direction,
whose innermost loops run over neighbouring weights. States are kept in float32 whatever the tensors' type is.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, extents_of
from landbridge.frontends.onnx.operators.loops import loops
from landbridge.ir.body import is_constant

_STATE = "float32"

Activation = Callable[[Any], Any]


def _real(value: float) -> Any:
    return tirx.const(value, _STATE)


_ACTIVATIONS: dict[str, tuple[float, float, Callable[[Any, Any, Any], Any]]] = {
    "affine": (1.0, 0.0, lambda x, a, b: a * x + b),
    "elu": (1.0, 0.0, lambda x, a, b: tirx.Select(x >= 0, x, a * (tirx.exp(x) - 1.0))),
    "hardsigmoid": (0.2, 0.5, lambda x, a, b: tirx.max(_real(0), tirx.min(_real(1), a * x + b))),
    "leakyrelu": (0.01, 0.0, lambda x, a, b: tirx.Select(x >= 0, x, a * x)),
    "relu": (0.0, 0.0, lambda x, a, b: tirx.max(x, _real(0))),
    "scaledtanh": (1.0, 1.0, lambda x, a, b: a * tirx.tanh(b * x)),
    "sigmoid": (0.0, 0.0, lambda x, a, b: tirx.sigmoid(x)),
    "softplus": (0.0, 0.0, lambda x, a, b: tirx.log(tirx.exp(x) + 1.0)),
    "softsign": (0.0, 0.0, lambda x, a, b: x / (tirx.abs(x) + 1.0)),
    "tanh": (0.0, 0.0, lambda x, a, b: tirx.tanh(x)),
    "thresholdedrelu": (1.0, 0.0, lambda x, a, b: tirx.Select(x > a, x, _real(0))),
}
"""By name in small letters: what alpha and beta are where they are left out, and the function."""

_TAKES = {"affine": 2, "elu": 1, "hardsigmoid": 2, "leakyrelu": 1, "scaledtanh": 2, "thresholdedrelu": 1}
"""How many of the attributes' numbers an activation takes: alpha, or alpha and beta."""

_DEFAULTS: dict[str, tuple[str, ...]] = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


@dataclass(frozen=True)
class _Cell:
    """What one direction does at each step.

    Attributes:
        kind: of `_GATES`.
        activations: in the operator's order.
        limit: what goes into an activation is kept within; 0 where it is not.
        linear_before_reset: of a GRU.
        coupled: an LSTM's forget gate is one less its input gate.
        backwards: from the last step to the first.
    """

    kind: str
    activations: tuple[Activation, ...]
    limit: float
    linear_before_reset: bool
    coupled: bool
    backwards: bool


def _cells(call: Call) -> list[_Cell]:
    kind = str(call.node.proto.op_type)
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(call.text("direction", "forward"))
    if directions is None:
        raise Declined(f"the direction '{call.text('direction', 'forward')}'")
    each = len(_DEFAULTS[kind])
    names = [name.lower() for name in call.texts("activations") or _DEFAULTS[kind] * len(directions)]
    unknown = [name for name in names if name not in _ACTIVATIONS]
    if unknown or len(names) != each * len(directions):
        raise Declined(f"the activations {names}")
    alphas, betas = iter(call.reals("activation_alpha") or ()), iter(call.reals("activation_beta") or ())
    functions = []
    for name in names:
        alpha, beta, function = _ACTIVATIONS[name]
        alpha = next(alphas, alpha) if _TAKES.get(name, 0) > 0 else alpha
        beta = next(betas, beta) if _TAKES.get(name, 0) > 1 else beta
        functions.append(lambda x, a=alpha, b=beta, f=function: f(x, _real(a), _real(b)))
    return [
        _Cell(
            kind,
            tuple(functions[number * each : (number + 1) * each]),
            call.real("clip", 0.0),
            bool(call.number("linear_before_reset", 0)),
            bool(call.number("input_forget", 0)),
            backwards,
        )
        for number, backwards in enumerate(directions)
    ]


def _recurrent(call: Call) -> list[Any]:
    """Any of the three, all directions, both layouts."""
    kind, dtype = str(call.node.proto.op_type), call.dtype(0)
    batch_first = bool(call.number("layout", 0))
    data = _float32(call, call.tensor(0))
    if batch_first:
        data = call.emit(relax.op.permute_dims(data, [1, 0, 2]))
    batch = extents_of(data)[1]
    hidden = extents_of(call.tensor(2))[2]
    if not isinstance(hidden, int):
        raise Declined("a hidden size that is not known")
    parts = []
    for number, cell in enumerate(_cells(call)):
        weights = _transposed(call, _of_direction(call, 1, number))
        bias, kept = _bias(call, number, cell, hidden)
        inputs = call.emit(relax.op.add(call.emit(relax.op.matmul(data, weights)), bias))
        recurrent = _transposed(call, _of_direction(call, 2, number))
        states = [_state(call, index, number, (batch, hidden), batch_first) for index in ((5, 6) if kind == "LSTM" else (5,))]
        peephole = [_of_direction(call, 7, number)] if kind == "LSTM" and call.has(7) else []
        lengths = [call.tensor(4)] if call.has(4) else []
        arguments = [inputs, recurrent, kept, *states, *peephole, *lengths]
        parts.append(call.compute(_kernel(cell, hidden, bool(peephole), bool(lengths)), *arguments, name=kind.lower()))
    return _outputs(call, parts, kind, dtype, batch_first)


def _outputs(call: Call, parts: Sequence[Any], kind: str, dtype: str, batch_first: bool) -> list[Any]:
    """Return what the directions made, side by side."""
    found: list[Any] = []
    for index in range(3 if kind == "LSTM" else 2):
        if not call.wants(index):
            found.append(None)
            continue
        axis = 1 if index == 0 else 0
        made = [call.emit(relax.TupleGetItem(part, index)) for part in parts]
        value = call.emit(relax.op.stack(made, axis=axis) if len(made) > 1 else relax.op.expand_dims(made[0], axis))
        if batch_first:
            value = call.emit(relax.op.permute_dims(value, [2, 0, 1, 3] if index == 0 else [1, 0, 2]))
        found.append(value if dtype == _STATE else call.emit(relax.op.astype(value, dtype)))
    return found


def _float32(call: Call, tensor: Any) -> Any:
    if str(tensor.ty.dtype) == _STATE:
        return tensor
    return constant(tensor.value.numpy(), _STATE) if is_constant(tensor) else call.emit(relax.op.astype(tensor, _STATE))


def _of_direction(call: Call, index: int, number: int) -> Any:
    """Return the part of an input that belongs to one direction, in float32."""
    array = call.constant(index)
    if array is not None:
        return constant(array[number], _STATE)
    whole = _float32(call, call.tensor(index))
    part = call.emit(relax.op.strided_slice(whole, [0], [number], [number + 1]))
    return call.emit(relax.op.squeeze(part, [0]))


def _transposed(call: Call, tensor: Any) -> Any:
    return constant(tensor.value.numpy().T) if is_constant(tensor) else call.emit(relax.op.permute_dims(tensor, [1, 0]))


def _state(call: Call, index: int, number: int, shape: tuple[Any, int], batch_first: bool) -> Any:
    """Return a first state, zeros where none is given."""
    if not call.has(index):
        return call.emit(relax.op.zeros(relax.ShapeExpr(list(shape)), _STATE))
    if not batch_first:
        return _of_direction(call, index, number)
    part = call.emit(relax.op.strided_slice(_float32(call, call.tensor(index)), [1], [number], [number + 1]))
    return call.emit(relax.op.squeeze(part, [1]))


def _bias(call: Call, number: int, cell: _Cell, hidden: int) -> tuple[Any, Any]:
    """Return what is added to the products with the inputs, and what a GRU adds to its last gate's product with the state."""
    gates = _GATES[cell.kind] * hidden
    kept = constant(np.zeros(hidden), _STATE)
    if not call.has(3):
        return constant(np.zeros(gates), _STATE), kept
    both = _of_direction(call, 3, number)
    of_input, of_state = (call.emit(relax.op.strided_slice(both, [0], [start], [start + gates])) for start in (0, gates))
    if cell.kind == "GRU":
        last = call.emit(relax.op.strided_slice(of_state, [0], [2 * hidden], [gates]))
        if cell.linear_before_reset:
            first = call.emit(relax.op.strided_slice(of_state, [0], [0], [2 * hidden]))
            of_state, kept = call.emit(relax.op.concat([first, kept], axis=0)), last
    return call.emit(relax.op.add(of_input, of_state)), kept


def _kernel(cell: _Cell, hidden: int, peephole: bool, lengths: bool) -> Callable[..., Any]:
    """Return the kernel of a direction: from the products with the inputs to all states, and the last ones."""
    lstm = cell.kind == "LSTM"

    def kernel(inputs: Any, weights: Any, kept: Any, *others: Any) -> Any:
        steps, batch, gates = inputs.shape

        def body(*buffers: Any) -> None:
            given, made = buffers[: 3 + len(others)], buffers[3 + len(others) :]
            inputs, weights, kept, *rest = given
            states, rest = rest[: 1 + lstm], rest[1 + lstm :]
            holes = rest.pop(0) if peephole else None
            counts = rest.pop(0) if lengths else None
            all_states, *last, sums = made
            for state, first in zip(last, states, strict=True):
                with ib.grid(batch, hidden) as (b, j):
                    state[b, j] = first[b, j]
            with ib.serial(0, steps) as t, ib.serial(0, batch) as b:
                count = steps if counts is None else tirx.min(counts[b].astype("int64"), tirx.Cast("int64", steps))
                with ib.If(t < count):
                    with ib.Then():
                        place = count - 1 - t if cell.backwards else t
                        _products(inputs, weights, last[0], sums, (place, b), hidden)
                        step = _Step(cell, weights, kept, holes, last, sums, b, hidden)
                        step.update()
                        with ib.serial(0, hidden) as j:
                            all_states[place, b, j] = last[0][b, j]
                    with ib.Else(), ib.serial(0, hidden) as j:
                        all_states[t, b, j] = _real(0)

        outputs = [([steps, batch, hidden], _STATE), *[([batch, hidden], _STATE)] * (1 + lstm), ([gates + hidden], _STATE)]
        return loops(cell.kind.lower(), [inputs, weights, kept, *others], outputs, body)

    return kernel


def _products(inputs: Any, weights: Any, state: Any, sums: Any, at: tuple[Any, Any], hidden: int) -> None:
    """Emit the sums of all gates: the inputs' part, plus the state times the weights; of a GRU only the first two gates' products."""
    place, b = at
    gates = int(weights.shape[1])
    with ib.serial(0, gates) as j:
        sums[j] = inputs[place, b, j]
    with ib.serial(0, hidden) as k, ib.serial(0, gates if gates != 3 * hidden else 2 * hidden) as j:
        sums[j] = sums[j] + state[b, k] * weights[k, j]


@dataclass(frozen=True)
class _Step:
    """One step of one sequence.

    Attributes:
        last: the states' buffers, read and written.
        sums: of each gate; ``hidden`` more places for what a GRU works out on the way.
    """

    cell: _Cell
    weights: Any
    kept: Any
    holes: Any
    last: Sequence[Any]
    sums: Any
    b: Any
    hidden: int

    def update(self) -> None:
        """Emit the new states."""
        {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.cell.kind]()

    def _gate(self, activation: int, value: Any) -> Any:
        limit = self.cell.limit
        if limit > 0:
            value = tirx.max(tirx.min(value, _real(limit)), _real(-limit))
        return self.cell.activations[activation](value)

    def _hole(self, number: int, j: Any, state: Any) -> Any:
        return _real(0) if self.holes is None else self.holes[number * self.hidden + j] * state

    def _rnn(self) -> None:
        (state,), sums = self.last, self.sums
        with ib.serial(0, self.hidden) as j:
            state[self.b, j] = self._gate(0, sums[j])

    def _lstm(self) -> None:
        (state, cell), sums, hidden = self.last, self.sums, self.hidden
        with ib.serial(0, hidden) as j:  # the gates stand in the order input, output, forget, cell
            before = cell[self.b, j]
            sums[j] = self._gate(0, sums[j] + self._hole(0, j, before))
            forget = 1.0 - sums[j] if self.cell.coupled else self._gate(0, sums[2 * hidden + j] + self._hole(2, j, before))
            cell[self.b, j] = forget * before + sums[j] * self._gate(1, sums[3 * hidden + j])
            out = self._gate(0, sums[hidden + j] + self._hole(1, j, cell[self.b, j]))
            state[self.b, j] = out * self.cell.activations[2](cell[self.b, j])

    def _gru(self) -> None:
        (state,), sums, hidden, weights = self.last, self.sums, self.hidden, self.weights
        linear, b = self.cell.linear_before_reset, self.b
        more = 3 * hidden
        with ib.serial(0, 2 * hidden) as j:  # the gates stand in the order update, reset, hidden
            sums[j] = self._gate(0, sums[j])
        with ib.serial(0, hidden) as j:
            sums[more + j] = self.kept[j]
        with ib.serial(0, hidden) as k, ib.serial(0, hidden) as j:
            old = state[b, k] if linear else state[b, k] * sums[hidden + k]
            sums[more + j] = sums[more + j] + old * weights[k, 2 * hidden + j]
        with ib.serial(0, hidden) as j:
            product = sums[hidden + j] * sums[more + j] if linear else sums[more + j]
            new = self._gate(1, sums[2 * hidden + j] + product)
            state[b, j] = (1.0 - sums[j]) * new + sums[j] * state[b, j]


OPERATORS: dict[str, Rule] = dict.fromkeys(_GATES, _recurrent)
