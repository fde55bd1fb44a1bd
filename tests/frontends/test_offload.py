from __future__ import annotations

from dataclasses import replace as with_fields
from typing import Any

import numpy as np
import pytest

from landbridge.frontends.offload import offload
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.program import extern_device, extern_signature
from landbridge.runtime.device import KINDS, Device
from landbridge.runtime.errors import ModelError, UnsupportedError, UsageError
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import node, small_model

RNG = np.random.default_rng(11)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def model() -> Any:
    nodes = [
        node("Relu", "x", "a"),
        node("Conv", "a w", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c", "feat"),
        node("Sigmoid", "feat", "y"),
    ]
    return small_model(nodes, {"x": ("float32", ("n", 3, "h", 8))}, {"y": ("float32", (None, 4, None, 4))}, {"w": floats(4, 3, 3, 3)})


def test_a_region_is_compiled_by_openvino_and_gives_the_same_numbers() -> None:
    pytest.importorskip("openvino")
    whole = model()
    program = offload(from_onnx(whole), "openvino0", inputs=["a"], outputs=["feat"])
    assert [extern.vendor for extern in program.externs.values()] == ["openvino"]
    symbol = next(iter(program.externs))
    assert extern_device(program.module, symbol) == Device("openvino", 0)
    assert extern_signature(program.module, symbol).inputs[0].shape == ("n", 3, "h", 8)
    for feeds in ({"x": floats(1, 3, 8, 8)}, {"x": floats(3, 3, 5, 8)}):
        assert_same(run_program(program, feeds), reference(whole, feeds))


def test_names_and_borders_are_checked_before_anything_is_compiled() -> None:
    with pytest.raises(ModelError, match="no value is called 'fat'"):
        offload(from_onnx(model()), "openvino0", inputs=["a"], outputs=["fat"])


def test_a_program_without_onnx_source_cannot_be_offloaded() -> None:
    program = with_fields(from_onnx(model()), source=None)
    with pytest.raises(UnsupportedError) as caught:
        offload(program, "openvino0", inputs=["a"], outputs=["feat"])
    assert str(caught.value) == (
        "small: only a program that came from an ONNX model can be offloaded\n  hint: compile the blob yourself and use it as a module"
    )


def test_a_vendor_without_a_compiler_says_so() -> None:
    with pytest.raises(UnsupportedError, match="atlas has no compiler that can be called from here"):
        offload(from_onnx(model()), "atlas0", inputs=["a"], outputs=["feat"])


def test_a_device_without_a_vendor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "abacus", "abacus")
    with pytest.raises(UsageError) as caught:
        offload(from_onnx(model()), "abacus0", inputs=["a"], outputs=["feat"])
    assert str(caught.value).startswith("no vendor's offline models run on abacus0\n  hint: kinds of devices with vendors: ")
