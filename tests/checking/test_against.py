"""The check of a program that came from something else than ONNX: here from a module, with NumPy for what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.errors import UnsupportedError


class Net(lb.nn.Module):
    def forward(self, x: Any) -> Any:
        return lb.nn.relu(lb.nn.sqrt(lb.nn.add(x, x)))


@dataclass(frozen=True)
class ByNumpy:
    """What the network is, perhaps with another last step."""

    last: Any
    by: str = "NumPy"
    names: frozenset[str] = frozenset({"add", "sqrt", "relu"})

    def inputs(self) -> Iterator[dict[str, Any]]:
        yield {"x": np.array([[1, 2, 3]], np.float32)}

    def run(self, feed: Mapping[str, Any], wanted: list[str]) -> dict[str, Any]:
        doubled = feed["x"] + feed["x"]
        found = {"add": doubled, "sqrt": np.sqrt(doubled), "relu": self.last(np.sqrt(doubled)), "output": self.last(np.sqrt(doubled))}
        return {name: found[name] for name in wanted}


def program(meaning: Any) -> lb.Program:
    return replace(lb.from_module(Net(), {"x": lb.TensorSpec(("n", 3), "float32")}), meaning=meaning)


def test_native_code_that_is_right_is_said_to_be_checked() -> None:
    checked = lb.compile(program(ByNumpy(lambda x: np.maximum(x, 0)))).checked
    assert (checked.against, checked.sets, checked.note) == ("NumPy", 2, "")


def test_the_first_value_that_differs_is_named() -> None:
    with pytest.raises(UnsupportedError, match="its native code differs from NumPy: 'relu"):
        lb.compile(program(ByNumpy(lambda x: x + 1)))


def test_without_the_check_nothing_is_compared() -> None:
    assert lb.compile(program(ByNumpy(lambda x: x + 1)), check="off").checked.sets == 0
