"""LSTM, GRU and RNN in float64, read from ONNX's specification as plainly as can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


@dataclass(frozen=True)
class Layer:
    """A layer with its activations as they are by default.

    Attributes:
        kind: of `GATES`.
        backwards: for each direction whether it goes from the last step to the first.
        linear_before_reset: of a GRU.
    """

    kind: str
    backwards: tuple[bool, ...] = (False,)
    linear_before_reset: bool = False

    @property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes, but for the hidden size."""
        direction = {(False,): "forward", (True,): "reverse", (False, True): "bidirectional"}[self.backwards]
        return {"direction": direction, **({"linear_before_reset": 1} if self.linear_before_reset else {})}


def evaluate(layer: Layer, x: Array, w: Array, r: Array, b: Array, lengths: Array | None = None) -> list[Array]:
    """Return all states, the last one, and of an LSTM the last one that it keeps."""
    steps, batch, hidden = len(x), x.shape[1], r.shape[2]
    x, w, r, b = (array.astype("float64") for array in (x, w, r, b))
    lengths = np.full(batch, steps) if lengths is None else lengths
    states = np.zeros((steps, len(layer.backwards), batch, hidden))
    last, kept = (np.zeros((len(layer.backwards), batch, hidden)) for _ in range(2))
    for d, backwards in enumerate(layer.backwards):
        for n, count in enumerate(lengths):
            h, c = np.zeros(hidden), np.zeros(hidden)
            for t in reversed(range(count)) if backwards else range(count):
                h, c = _step(layer, x[t, n], h, c, w[d], r[d], b[d])
                states[t, d, n] = h
            last[d, n], kept[d, n] = h, c
    return [states, last, kept] if layer.kind == "LSTM" else [states, last]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _step(layer: Layer, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array) -> tuple[Array, Array]:
    of_input, of_state = np.split(b, 2)
    ours, theirs = (np.split(y, GATES[layer.kind]) for y in (w @ x + of_input, r @ h + of_state))
    return _STEPS[layer.kind](layer, ours, theirs, h, c, r, of_state)


def _lstm(layer: Layer, ours: list[Array], theirs: list[Array], h: Array, c: Array, *_: Array) -> tuple[Array, Array]:
    i, o, f, g = (x + y for x, y in zip(ours, theirs, strict=True))
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(layer: Layer, ours: list[Array], theirs: list[Array], h: Array, c: Array, r: Array, of_state: Array) -> tuple[Array, Array]:
    z, reset = (_sigmoid(ours[gate] + theirs[gate]) for gate in range(2))
    weights, bias = np.split(r, 3)[2], np.split(of_state, 3)[2]
    after = reset * theirs[2] if layer.linear_before_reset else weights @ (reset * h) + bias
    return (1 - z) * np.tanh(ours[2] + after) + z * h, c


def _rnn(layer: Layer, ours: list[Array], theirs: list[Array], h: Array, c: Array, *_: Array) -> tuple[Array, Array]:
    return np.tanh(ours[0] + theirs[0]), c


_STEPS: dict[str, Callable[..., tuple[Array, Array]]] = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}
