"""LSTM, GRU and RNN: one matrix product over all steps at once, then a loop over the steps.

The products with the inputs of all steps, of both directions, are one call, as fast as any. What depends on the step before is one kernel,
written here unit by unit in the order that `landbridge.codegen.schedules.recurrent` makes fast. It has units in panels, and the last
panel is filled up with units whose weights are zeros, which nothing reads. States are kept in float32 whatever the tensors' type is.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.codegen.schedules.recurrent import DIRECTIONS, PANEL, RECURRENCE, UNITS
from landbridge.frontends.onnx.operators.arrange import added, as_type, filled, part, permuted, reshaped
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, extents_of
from landbridge.frontends.onnx.operators.loops import loops

_STATE = "float32"


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
    """What a layer does at each step.

    Attributes:
        kind: of `_GATES`.
        activations: in the operator's order; each takes a number and the direction's.
        limit: what goes into an activation is kept within; 0 where it is not.
        linear_before_reset: of a GRU.
        coupled: an LSTM's forget gate is one less its input gate.
        backwards: for each direction whether it goes from the last step to the first.
    """

    kind: str
    activations: tuple[Callable[[Any, Any], Any], ...]
    limit: float
    linear_before_reset: bool
    coupled: bool
    backwards: tuple[bool, ...]


_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _cell(call: Call) -> _Cell:
    kind, direction = str(call.node.proto.op_type), call.text("direction", "forward")
    if direction not in _BACKWARDS:
        raise Declined(f"the direction '{direction}'")
    backwards, each = _BACKWARDS[direction], len(_DEFAULTS[kind])
    names = [name.lower() for name in call.texts("activations") or _DEFAULTS[kind] * len(backwards)]
    unknown = [name for name in names if name not in _ACTIVATIONS]
    if unknown or len(names) != each * len(backwards):
        raise Declined(f"the activations {names}")
    alphas, betas = iter(call.reals("activation_alpha") or ()), iter(call.reals("activation_beta") or ())
    chosen = []
    for name in names:
        alpha, beta, _ = _ACTIVATIONS[name]
        alpha = next(alphas, alpha) if _TAKES.get(name, 0) > 0 else alpha
        beta = next(betas, beta) if _TAKES.get(name, 0) > 1 else beta
        chosen.append((name, alpha, beta))
    return _Cell(
        kind,
        tuple(_of_directions(chosen[number::each]) for number in range(each)),
        call.real("clip", 0.0),
        kind == "GRU" and bool(call.number("linear_before_reset", 0)),
        bool(call.number("input_forget", 0)),
        backwards,
    )


def _of_directions(chosen: Sequence[tuple[str, float, float]]) -> Callable[[Any, Any], Any]:
    """Return the function of a number and the direction's, given the activation of each direction with its alpha and beta."""

    def function(x: Any, direction: Any) -> Any:
        values = [_ACTIVATIONS[name][2](x, _real(alpha), _real(beta)) for name, alpha, beta in dict.fromkeys(chosen)]
        return values[0] if len(values) == 1 else tirx.Select(direction == 0, *values)

    return function


def _recurrent(call: Call) -> list[Any]:
    """Any of the three, all directions, both layouts."""
    cell, dtype, batch_first = _cell(call), call.dtype(0), bool(call.number("layout", 0))
    data = as_type(call, call.tensor(0), _STATE)
    if batch_first:
        data = call.emit(relax.op.permute_dims(data, [1, 0, 2]))
    hidden = extents_of(call.tensor(2))[2]
    if not isinstance(hidden, int):
        raise Declined("a hidden size that is not known")
    layer = _Layer(cell, hidden, bool(call.has(4)), *(bool(call.has(index)) for index in (5, 6, 7)))
    inputs, kept = _inputs(call, layer, data)
    arguments = [inputs, *_recurrent_weights(call, layer), *kept]
    if layer.lengths:
        arguments.append(call.tensor(4))
    for index in (5, 6):
        if call.has(index):
            state = as_type(call, call.tensor(index), _STATE)
            arguments.append(permuted(call, state, [1, 0, 2]) if batch_first else state)
    if layer.peephole:
        holes = as_type(call, call.tensor(7), _STATE)
        arguments.append(filled(call, reshaped(call, holes, [layer.directions, 3, hidden]), 2, layer.padded))
    made = call.compute(layer.kernel, *arguments, name=cell.kind.lower())
    return _outputs(call, made, layer, dtype, batch_first)


def _inputs(call: Call, layer: _Layer, data: Any) -> tuple[Any, list[Any]]:
    """Return the products with the inputs of all steps, [steps, batch, directions * gates * padded], and what a GRU adds before reset."""
    directions, gates, padded = layer.directions, layer.gates, layer.padded
    steps, batch, size = extents_of(data)
    weights = reshaped(call, as_type(call, call.tensor(1), _STATE), [directions, gates, layer.hidden, size])
    weights = reshaped(call, filled(call, weights, 2, padded), [directions * gates * padded, size])
    rows = reshaped(call, data, [steps * batch, size])  # all steps and sequences are rows of one product
    inputs = call.emit(relax.op.matmul(rows, permuted(call, weights, [1, 0])))
    kept = []
    if call.has(3):
        both = reshaped(call, as_type(call, call.tensor(3), _STATE), [directions, 2, gates, layer.hidden])
        both = filled(call, both, 3, padded)
        of_input, of_state = part(call, both, 1, 0, 1), part(call, both, 1, 1, 2)
        if layer.cell.linear_before_reset:
            kept = [reshaped(call, part(call, of_state, 2, 2, 3), [directions, padded])]
            of_state = filled(call, part(call, of_state, 2, 0, 2), 2, 3)
        bias = reshaped(call, added(call, of_input, of_state), [directions * gates * padded])
        inputs = call.emit(relax.op.add(inputs, bias))
    elif layer.cell.linear_before_reset:
        kept = [constant(np.zeros((directions, padded)), _STATE)]
    return reshaped(call, inputs, [steps, batch, directions * gates * padded]), kept


def _recurrent_weights(call: Call, layer: _Layer) -> list[Any]:
    """Return the weights of each product of a step: [directions, panels, hidden, gates, units of a panel]."""
    gates, hidden, padded = layer.gates, layer.hidden, layer.padded
    weights = reshaped(call, as_type(call, call.tensor(2), _STATE), [layer.directions, gates, hidden, hidden])
    panels = [layer.directions, gates, padded // PANEL, PANEL, hidden]
    panelled = permuted(call, reshaped(call, filled(call, weights, 2, padded), panels), [0, 2, 4, 1, 3])
    return [panelled] if len(layer.products) == 1 else [part(call, panelled, 3, *ends) for ends in layer.products]


def _outputs(call: Call, made: Any, layer: _Layer, dtype: str, batch_first: bool) -> list[Any]:
    """Return what the operator gives of what the kernel made."""
    found: list[Any] = []
    for index in range(1 + layer.states):
        if not call.wants(index):
            found.append(None)
            continue
        value = call.emit(relax.TupleGetItem(made, index))
        if index == 0:
            value = part(call, value, 3, 0, layer.hidden) if layer.hidden != layer.padded else value
        if batch_first:
            value = call.emit(relax.op.permute_dims(value, [2, 0, 1, 3] if index == 0 else [1, 0, 2]))
        found.append(as_type(call, value, dtype))
    return found


@dataclass(frozen=True)
class _Layer:
    """A layer: what its kernel takes and makes.

    Attributes:
        hidden: how many units there are.
        lengths: whether sequences have lengths of their own.
        has_state: whether there is a first state; of an LSTM the one that it gives.
        has_cell: whether an LSTM has a first state of the one that it keeps.
        peephole: whether an LSTM's gates see that one.
    """

    cell: _Cell
    hidden: int
    lengths: bool
    has_state: bool
    has_cell: bool
    peephole: bool

    @property
    def gates(self) -> int:
        return _GATES[self.cell.kind]

    @property
    def directions(self) -> int:
        return len(self.cell.backwards)

    @property
    def states(self) -> int:
        """How many states a unit has."""
        return 2 if self.cell.kind == "LSTM" else 1

    @property
    def padded(self) -> int:
        """How many units there are in whole panels."""
        return -(-self.hidden // PANEL) * PANEL

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """The first gate, and the first that is not, of each product of a step."""
        return ((0, 2), (2, 3)) if self.cell.kind == "GRU" and not self.cell.linear_before_reset else ((0, self.gates),)

    def kernel(self, inputs: Any, *others: Any) -> Any:
        """Return the states after each step, [steps, directions, batch, padded], the last ones, and what the kernel needs on the way."""
        steps, batch, _ = inputs.shape
        last = ([self.directions, batch, self.hidden], _STATE)
        kept = ([self.directions, batch, self.padded], _STATE)
        all_states = ([steps, self.directions, batch, self.padded], _STATE)
        between = [kept, kept] if len(self.products) > 1 else []
        around = ([2, self.directions, batch, self.padded], _STATE)  # before and after a step, and the other way round in the next
        outputs = [all_states, *[last] * self.states, around, *[kept] * (self.states - 1), *between, ([_SUMS], _STATE)]
        return loops(self.cell.kind.lower(), [inputs, *others], outputs, lambda *buffers: _Body.of(self, steps, batch, buffers).emit())


_SUMS = 4
"""Numbers of a unit that are at hand at a time: its sums, which become its gates."""


@dataclass(frozen=True, eq=False)
class _Body:
    """The kernel's loops, while they are emitted.

    Attributes:
        inputs: the products with the inputs.
        weights: of each product of a step.
        kept: what a GRU adds to its last product before reset.
        counts: the lengths of the sequences.
        first: the states before the first step, None where they are zeros.
        holes: the weights of the states that an LSTM's gates see.
        all_states: after each step.
        last: after the last one.
        around: the states before and after a step, in turns.
        memory: the states that an LSTM keeps.
        between: a GRU's update gates, and its states after the reset.
        sums: numbers of a unit.
    """

    layer: _Layer
    steps: Any
    batch: Any
    inputs: Any
    weights: Sequence[Any]
    kept: Any
    counts: Any
    first: Sequence[Any]
    holes: Any
    all_states: Any
    last: Sequence[Any]
    around: Any
    memory: Any
    between: Sequence[Any]
    sums: Any

    @staticmethod
    def of(layer: _Layer, steps: Any, batch: Any, buffers: Sequence[Any]) -> _Body:
        """Return the body that works on buffers in the order of the kernel's inputs and outputs."""
        rest = iter(buffers)

        def some(present: bool) -> Any:
            return next(rest) if present else None

        lstm, products = layer.states == 2, len(layer.products)
        return _Body(
            layer,
            steps,
            batch,
            next(rest),
            [next(rest) for _ in range(products)],
            some(layer.cell.linear_before_reset),
            some(layer.lengths),
            [some(layer.has_state), some(layer.has_cell)],
            some(layer.peephole),
            next(rest),
            [next(rest) for _ in range(layer.states)],
            next(rest),
            some(lstm),
            [next(rest) for _ in range(2 * (products - 1))],
            next(rest),
        )

    def emit(self) -> None:
        """Emit all loops."""
        layer = self.layer
        with ib.grid(_whole(layer.directions), self.batch, _whole(layer.padded)) as (d, b, u):
            self.around[_whole(0), d, b, u] = self._before(0, d, b, u)
            if self.memory is not None:
                self.memory[d, b, u] = self._before(1, d, b, u)
        with (
            ib.serial(_whole(0), _whole(layer.directions), annotations={RECURRENCE: DIRECTIONS}) as d,
            ib.serial(_whole(0), self.steps) as t,
        ):
            {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[layer.cell.kind](d, t)
        with ib.grid(_whole(layer.directions), self.batch, _whole(layer.hidden)) as (d, b, u):
            self.last[0][d, b, u] = self.around[tirx.floormod(self.steps, _whole(2)), d, b, u]
            if self.memory is not None:
                self.last[1][d, b, u] = self.memory[d, b, u]

    def _before(self, number: int, *at: Any) -> Any:
        """Return a state before the first step; 0 for what fills up the last panel."""
        first = self.first[number]
        if first is None:
            return _real(0)
        within = at[-1] < self.layer.hidden
        return first[at] if self.layer.hidden == self.layer.padded else tirx.if_then_else(within, first[at], _real(0))

    def _product(self, d: Any, t: Any, number: int, start: Callable[[_Unit], Sequence[Any]], update: Callable[[_Unit], None]) -> None:
        """Emit a product of all states with weights, and what is done with the sums of each unit.

        Args:
            number: of the product.
            start: gives what the sums of a unit start with.
            update: emits the rest.
        """
        layer = self.layer
        with (
            ib.serial(_whole(0), self.batch, annotations={RECURRENCE: UNITS}) as b,
            ib.serial(_whole(0), _whole(layer.padded // PANEL)) as panel,
            ib.serial(_whole(0), _whole(PANEL)) as lane,
        ):
            unit = _Unit(self, d, t, b, panel * PANEL + lane)
            starts = start(unit)
            for gate, value in enumerate(starts):
                self.sums[gate] = value
            extent = _whole(layer.hidden) if self.counts is None else tirx.if_then_else(unit.is_there, _whole(layer.hidden), _whole(0))
            with ib.serial(_whole(0), extent) as k:
                state = unit.state(k) if number == 0 else self.between[1][d, b, k]
                for gate in range(len(starts)):
                    self.sums[gate] = self.sums[gate] + state * self.weights[number][d, panel, k, gate, lane]
            update(unit)

    def _rnn(self, d: Any, t: Any) -> None:
        def update(unit: _Unit) -> None:
            self.sums[0] = unit.activated(0, self.sums[0])
            unit.keep(self.sums[0])

        self._product(d, t, 0, lambda unit: [unit.input(0)], update)

    def _lstm(self, d: Any, t: Any) -> None:
        def update(unit: _Unit) -> None:  # the gates stand in the order input, output, forget, cell
            sums, before = self.sums, self.memory[d, unit.b, unit.number]
            sums[0] = unit.activated(0, sums[0] + unit.hole(0, before))
            sums[2] = 1.0 - sums[0] if self.layer.cell.coupled else unit.activated(0, sums[2] + unit.hole(2, before))
            sums[3] = unit.activated(1, sums[3])
            sums[2] = sums[2] * before + sums[0] * sums[3]
            sums[1] = unit.activated(0, sums[1] + unit.hole(1, sums[2]))
            self.memory[d, unit.b, unit.number] = unit.if_there(sums[2], before)
            sums[2] = self.layer.cell.activations[2](sums[2], d)
            unit.keep(sums[1] * sums[2])

        self._product(d, t, 0, lambda unit: [unit.input(gate) for gate in range(4)], update)

    def _gru(self, d: Any, t: Any) -> None:  # the gates stand in the order update, reset, hidden
        def linear(unit: _Unit) -> None:
            sums = self.sums
            sums[0] = unit.activated(0, sums[0])
            sums[1] = unit.activated(0, sums[1])
            sums[2] = unit.activated(1, unit.input(2) + sums[1] * sums[2])
            unit.keep((1.0 - sums[0]) * sums[2] + sums[0] * unit.state(unit.number))

        def reset(unit: _Unit) -> None:
            at, sums = (d, unit.b, unit.number), self.sums
            self.between[0][at] = unit.activated(0, sums[0])
            sums[1] = unit.activated(0, sums[1])
            self.between[1][at] = sums[1] * unit.state(unit.number)

        def mix(unit: _Unit) -> None:
            sums, gate = self.sums, self.between[0][d, unit.b, unit.number]
            sums[0] = unit.activated(1, sums[0])
            unit.keep((1.0 - gate) * sums[0] + gate * unit.state(unit.number))

        if self.layer.cell.linear_before_reset:
            self._product(d, t, 0, lambda unit: [unit.input(0), unit.input(1), self.kept[d, unit.number]], linear)
        else:
            self._product(d, t, 0, lambda unit: [unit.input(0), unit.input(1)], reset)
            self._product(d, t, 1, lambda unit: [unit.input(2)], mix)


@dataclass(frozen=True, eq=False)
class _Unit:
    """A unit of one sequence at one step.

    Attributes:
        d: the direction.
        t: how many steps have been done.
        b: the sequence.
        number: of the unit.
    """

    body: _Body
    d: Any
    t: Any
    b: Any
    number: Any

    @property
    def is_there(self) -> Any:
        """Whether the sequence has this step."""
        return self.t < self._count

    @property
    def _count(self) -> Any:
        counts, steps = self.body.counts, self.body.steps
        return steps if counts is None else tirx.min(counts[self.b].astype("int64"), tirx.Cast("int64", steps))

    @property
    def place(self) -> Any:
        """Where the step is in the sequence."""
        back = self.if_there(self._count - 1 - self.t, self.t)
        backwards = self.body.layer.cell.backwards
        if len(backwards) == 1:
            return back if backwards[0] else self.t
        return tirx.Select(self.d == 0, self.t, back)

    def if_there(self, value: Any, otherwise: Any) -> Any:
        """Return one of two, as the sequence has this step or not."""
        return value if self.body.counts is None else tirx.Select(self.is_there, value, otherwise)

    def input(self, gate: int) -> Any:
        """Return a gate's product with the inputs."""
        layer = self.body.layer
        return self.body.inputs[self.place, self.b, (self.d * layer.gates + gate) * layer.padded + self.number]

    def state(self, number: Any) -> Any:
        """Return the state of a unit of the same sequence before the step."""
        return self.body.around[tirx.floormod(self.t, _whole(2)), self.d, self.b, number]

    def hole(self, gate: int, state: Any) -> Any:
        """Return what a gate sees of a state that is kept."""
        holes = self.body.holes
        return _real(0) if holes is None else holes[self.d, gate, self.number] * state

    def activated(self, activation: int, value: Any) -> Any:
        """Return an activation of a number, which is kept within limits before."""
        cell = self.body.layer.cell
        if cell.limit > 0:
            value = tirx.max(tirx.min(value, _real(cell.limit)), _real(-cell.limit))
        return cell.activations[activation](value, self.d)

    def keep(self, value: Any) -> None:
        """Emit the stores of a new state."""
        body = self.body
        body.around[tirx.floormod(self.t + 1, _whole(2)), self.d, self.b, self.number] = self.if_there(value, self.state(self.number))
        body.all_states[self.place, self.d, self.b, self.number] = self.if_there(value, _real(0))


def _whole(value: int) -> Any:
    return tirx.const(value, "int64")


OPERATORS: dict[str, Rule] = dict.fromkeys(_GATES, _recurrent)
