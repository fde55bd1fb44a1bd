"""Each rule of MagicMind's package, broken: the double detects it and notes it. `strict_simulators` asks it after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import strict
from support.magicmind_double import installed, make_magicmind
from support.other_thread import elsewhere
from support.small_onnx import node, small_model

BLOB = make_magicmind(small_model([node("Neg", "a", "b")], {"a": ("float32", (3,))}, {"b": ("float32", (3,))}))
A = np.arange(3, dtype=np.float32)


class Call:
    """A model on card 0, with its input on the card."""

    def __init__(self, package: Any, folder: Path) -> None:
        self.system = package.System()
        self.system.__enter__()
        self.device = package.Device()
        assert self.device.active().ok()
        model, config = package.Model(), package.Model.EngineConfig()
        (folder / "model").write_bytes(BLOB)
        assert model.deserialize_from_file(str(folder / "model")).ok()
        config.device_type = "MLU"
        self.context = model.create_i_engine(config).create_i_context()
        self.queue, self.inputs, self.outputs = self.device.create_queue(), self.context.create_inputs(), list[Any]()
        assert self.inputs[0].from_numpy(A).ok()
        assert self.inputs[0].to(self.device).ok()
        self.open = True

    def enqueue(self) -> Any:
        self.outputs = []
        return self.context.enqueue(self.inputs, self.outputs, self.queue)

    def close(self) -> None:
        if self.open:
            self.system.__exit__()
        self.open = False


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    with installed() as package:
        made = Call(package, tmp_path)
        yield made
        made.close()


def _input_on_the_host(call: Call) -> Any:
    call.inputs[0].from_numpy(A)
    return call.enqueue()


def _twice_at_once(call: Call) -> Any:
    assert call.enqueue().ok()
    return call.enqueue()


def _after_the_system(call: Call) -> Any:
    call.close()
    return call.enqueue()


RULES: dict[str, tuple[Callable[[Call], Any], str]] = {
    "a device is active on each thread": (lambda call: elsewhere(call.enqueue), "device 0 is not active on this thread"),
    "the queue is waited for where it is active": (lambda call: elsewhere(call.queue.sync), "device 0 is not active on this thread"),
    "inputs are on the device": (_input_on_the_host, "input 0 is not on device 0"),
    "one context runs once at a time": (_twice_at_once, "the context runs already"),
    "the system is open": (_after_the_system, "the system is closed"),
}


@pytest.mark.misuse
@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_detected_named_and_noted(rule: str, call: Call) -> None:
    break_it, words = RULES[rule]
    strict.broken()
    assert not break_it(call).ok()
    (found,) = strict.broken()
    assert words in found


@pytest.mark.misuse
def test_a_result_is_read_after_the_queue_was_waited_for(call: Call) -> None:
    strict.broken()
    assert call.enqueue().ok()
    with pytest.raises(AssertionError, match="read before the queue was waited for"):
        call.outputs[0].asnumpy()
    assert strict.broken() == ["magicmind_double: read before the queue was waited for"]
    assert call.queue.sync().ok()
    np.testing.assert_array_equal(call.outputs[0].asnumpy(), -A)
